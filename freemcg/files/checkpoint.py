"""Weights of a network in a file of PyTorch or safetensors, without unpickling anything but tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from freemcg.files.tensors import load_tensors
from freemcg.messages.errors import InvalidValue

ADVICE = "save the state dict of the network alone: torch.save(network.state_dict(), ...)"


def load_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict by name, as float32 on the CPU, whatever kind of float the file holds.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or holds something else than finite floats by name.
    """
    found = load_tensors(path, "checkpoint")[0] if path.suffix == ".safetensors" else _unpickled(path)
    if not isinstance(found, dict) or not found:
        raise InvalidValue(f"{path} holds a {type(found).__name__}; {ADVICE}")
    for name, value in found.items():
        if not isinstance(value, Tensor):
            raise InvalidValue(f"{path} holds a {type(value).__name__} as {name!r}; {ADVICE}")
        if not value.is_floating_point():
            raise InvalidValue(f"the tensor {name} in {path} holds {value.dtype}, not floats; {ADVICE}")
        if not value.isfinite().all():
            raise InvalidValue(f"the tensor {name} in {path} holds NaN or infinity; save the checkpoint again")
    return {str(name): value.float() for name, value in found.items()}


def _unpickled(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes torch raise errors of many classes
        raise InvalidValue(f"{path} is damaged, or holds more than tensors; {ADVICE}") from error
