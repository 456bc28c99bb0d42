"""Tensors and a header in one `.safetensors` file, with a checksum that shows damage."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from freemcg.files.whole import written_whole
from freemcg.messages.errors import InvalidValue

CHECKSUM = "checksum"
_OLDER = {"kind", "result", "receipt"}  # the keys of older headers, which have no checksum


def save_tensors(tensors: dict[str, Tensor], path: Path, header: dict[str, str]) -> None:
    """Write a `.safetensors` file.

    Raises:
        OSError: as `written_whole` does.
    """
    header = {**header, CHECKSUM: _checksum(tensors, header)}
    with written_whole(path) as partial, safetensors_errors():
        save_file(tensors, partial, metadata=header)


@contextmanager
def safetensors_errors() -> Iterator[None]:
    """A block in which an error of safetensors is a system error, as on a full disk."""
    try:
        yield
    except SafetensorError as error:
        raise OSError(errno.EIO, str(error)) from error


def load_tensors(path: Path, what: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors of a `.safetensors` file, and its header.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: the file is of another kind than `what`, or was damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no {what} {path}")
    try:
        with safe_open(path, framework="pt") as stored:
            names = stored.keys()  # `stored` is not a dict
            tensors = {name: stored.get_tensor(name).clone() for name in names}  # clones do not map the file
            header = dict(stored.metadata() or {})
    except (SafetensorError, UnicodeDecodeError) as error:
        raise InvalidValue(f"{path} is not a saved {what} ({error})") from error
    checksum = header.pop(CHECKSUM, None)
    altered = not header.keys() <= _OLDER if checksum is None else checksum != _checksum(tensors, header)
    if altered and (checksum is not None or "kind" in header):  # without either, another program wrote the file
        raise InvalidValue(f"{path} was damaged: it is not what was written; make it again")
    return tensors, header


def _checksum(tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> str:
    digest = hashlib.blake2b(json.dumps(sorted(header.items())).encode(), digest_size=8)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
