"""Find the scores inside the objects that classifiers commonly return."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from freemcg.messages.errors import InvalidType

NUMBERS = "it must answer numbers: a tensor, an array, or lists"


def unwrapped(answer: Any, images: int, axes: int) -> Any:
    """The scores inside an object that classifiers commonly return. An answer of unknown form is returned unchanged.

    Raises:
        TypeError: there are several tensors that could be the scores.
    """
    if isinstance(answer, dict) and "logits" in answer:
        return answer["logits"]
    if hasattr(answer, "logits"):
        return answer.logits
    if isinstance(answer, tuple | list) and answer and _is_array(answer[0]):
        first = answer[0]
        shapes = [tuple(part.shape) for part in answer if _is_array(part)]
        able = [str(shape) for shape in shapes if len(shape) == axes and shape[0] == images]
        if len(able) > 1:
            raise InvalidType(
                f"the black box answered {len(able)} tensors that could be the scores, of shapes {' and '.join(able)}; "
                "return one of them alone"
            )
        return first if len(first.shape) == axes and first.shape[0] == images else answer
    return answer


def as_tensor(answer: Any) -> Tensor:
    """An answer as a tensor of real numbers, without a graph. It may be a tensor, an array of any library, or lists.

    Raises:
        TypeError: the answer is something else, or its numbers are complex.
    """
    found = answer.detach() if isinstance(answer, Tensor) else _from_dlpack(answer)
    if found is None:
        array = _as_array(answer)
        if array is None or array.dtype.kind not in "biufc":
            raise InvalidType(f"the black box answered {_described(answer)}; {NUMBERS}")
        found = torch.as_tensor(array.astype(np.float64) if array.dtype == np.longdouble else array)
    if found.is_complex():
        raise InvalidType(
            f"the black box answered complex numbers ({found.dtype}); it must answer real ones, such as their .real"
        )
    return found


def is_row(answer: Any) -> bool:
    """Whether an answer is a list of plain numbers."""
    return isinstance(answer, tuple | list) and not any(isinstance(part, tuple | list | Tensor) for part in answer)


def _is_array(part: Any) -> bool:
    return getattr(part, "shape", ()) != () and (hasattr(part, "__array__") or hasattr(part, "__dlpack__"))


def _from_dlpack(answer: Any) -> Tensor | None:
    """Another library's array as a tensor, on its own device; `None` if this torch cannot read it so."""
    if isinstance(answer, np.ndarray) or not hasattr(answer, "__dlpack__"):
        return None
    try:
        found: Tensor = from_dlpack(answer)
    except Exception:  # each library raises its own errors
        return None
    return found.clone()


def _as_array(answer: Any) -> np.ndarray | None:
    """A copy of the answer as an array; `None` if it is no array, no number and no lists of equal length."""
    if isinstance(answer, tuple | list) and not answer:
        return None
    try:
        if isinstance(answer, tuple | list | int | float | complex):
            return np.array(_plain(answer))
        return np.array(np.asarray(answer)) if hasattr(answer, "__array__") else None
    except Exception:  # lists of unequal length, or a library that raises its own error
        return None


def _plain(part: Any) -> Any:
    """A number, or lists of them; the numbers may be scalars of any library."""
    if isinstance(part, tuple | list):
        return [_plain(each) for each in part]
    if _is_array(part):
        raise TypeError(part)
    return part.item() if hasattr(part, "item") else part


def _described(answer: Any) -> str:
    named = type(answer).__name__
    if isinstance(answer, np.ndarray):
        return f"an array of {answer.dtype}"
    if isinstance(answer, dict):
        return f"{named} ({', '.join(str(key) for key in answer)})"
    if isinstance(answer, list) and answer and not any(hasattr(part, "shape") for part in answer):
        return "a list that holds something else than numbers, or lists of unequal length"
    if isinstance(answer, tuple | list):
        return f"{named} ({', '.join(_kind(part) for part in answer)})"
    return named


def _kind(part: Any) -> str:
    return type(part).__name__ + (f" {tuple(part.shape)}" if hasattr(part, "shape") else "")
