"""What a result records of a model, so that two results can be told to come from the same one."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def identity(model: Any) -> str:
    """A module's class and a digest of its state; of another callable, where it was defined.

    A state may hold what is no tensor: packed weights of a quantised layer, or the extra state of one. Containers are
    gone through, and of any other value its text counts, less an address in memory.
    """
    if isinstance(model, nn.Module):
        digest = hashlib.blake2b(digest_size=8)
        for key, value in model.state_dict().items():
            for part in _parts(key, value):
                digest.update(part)
        return f"{type(model).__name__}:{digest.hexdigest()}"
    name = getattr(model, "__qualname__", type(model).__qualname__)
    return f"{getattr(model, '__module__', type(model).__module__)}.{name}"


def _parts(key: str, value: Any) -> Iterator[bytes]:
    if isinstance(value, Tensor):
        plain = (value.dequantize() if value.is_quantized else value).detach().cpu()
        plain = (plain.to_dense() if plain.layout != torch.strided else plain).contiguous()
        yield f"{key} {value.dtype} {tuple(value.shape)} ".encode()
        yield plain.flatten().view(torch.uint8).numpy().tobytes()
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from _parts(f"{key}.{name}", each)
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            yield from _parts(f"{key}.{index}", each)
    else:
        yield f"{key} {ADDRESS.sub('', repr(value))} ".encode()
