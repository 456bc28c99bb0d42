"""Find the scores inside the objects that classifiers commonly return."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from freemcg.messages.errors import InvalidType

NUMBERS = "it must answer numbers: a tensor, an array, or lists"


class Part(NamedTuple):
    """A part of an answer that could be the scores, with its shape and its place. `named` if it is called logits."""

    value: Any
    shape: tuple[int, ...]
    place: str
    named: bool


def unwrapped(answer: Any, images: int, axes: int, classes: int | None = None) -> Any:
    """The scores inside an object that classifiers commonly return. An answer of unknown form is returned unchanged.

    Scores inside a tuple or a mapping are known by the name logits, else by the number of classes. A tuple of which
    only the first part could be the scores means this part. A list of one array for each image holds its rows. Lists of
    plain numbers are no such object.

    Args:
        answer: what the classifier returned.
        images: the number of images that it was given.
        axes: 1 for one number per image, 2 for a row of scores.
        classes: the length of a row, if it is known.

    Raises:
        TypeError: several parts could be the scores, and nothing tells which are.
    """
    if _is_named(answer):
        return _logits(answer)
    if not isinstance(answer, Mapping) and not (isinstance(answer, tuple | list) and any(map(_holds, answer))):
        return answer
    if isinstance(answer, list) and len(answer) == images and _are_rows(answer):
        return torch.stack([as_tensor(row) for row in answer])
    able = list(_parts(answer, images, axes))
    for sure in ([part for part in able if part.named], [part for part in able if _columns(part.shape) == classes]):
        if len(sure) == 1:
            return sure[0].value
    if len(able) > 1:
        found = " and ".join(f"{part.place} {part.shape}".lstrip() for part in able)
        declare = ", or say num_classes (--num-classes)" if axes == 2 and classes is None else ""
        raise InvalidType(
            f"the black box answered {len(able)} parts that could be the scores, of shapes {found}; "
            f"return one of them alone{declare}"
        )
    is_first = able and isinstance(answer, tuple | list) and able[0].value is answer[0]
    return answer[0] if is_first else answer


def _parts(whole: Any, images: int, axes: int, place: str = "") -> Iterator[Part]:
    """The parts of a tuple, list or mapping that could be the scores, at any depth."""
    pairs = whole.items() if isinstance(whole, Mapping) else ((place, part) for part in whole)
    for key, part in pairs:
        named, value = _is_named(part), _logits(part) if _is_named(part) else part
        shape = _shape(value)
        if named or (shape is not None and _could_be_scores(shape, images, axes)):
            yield Part(value, shape or (), "logits" if named else str(key), named)
        elif isinstance(value, Mapping | tuple | list):
            yield from _parts(value, images, axes, str(key))


def _is_named(answer: Any) -> bool:
    return "logits" in answer if isinstance(answer, Mapping) else hasattr(answer, "logits")


def _logits(answer: Any) -> Any:
    return answer["logits"] if isinstance(answer, Mapping) else answer.logits


def _holds(part: Any) -> bool:
    """Whether a part of a list shows that the list is no row of numbers."""
    return _is_array(part) or _is_named(part) or isinstance(part, Mapping)


def _are_rows(parts: list[Any]) -> bool:
    """Whether all parts are arrays of one axis, equally long."""
    return all(_is_array(part) and tuple(part.shape) == (len(parts[0]),) for part in parts)


def _could_be_scores(shape: tuple[int, ...], images: int, axes: int) -> bool:
    """Whether a shape is `(images,)` or, for rows, `(images, columns)`; axes of length 1 may follow."""
    return shape[:1] == (images,) and all(side == 1 for side in shape[axes:])


def _columns(shape: tuple[int, ...]) -> int:
    return shape[1] if len(shape) > 1 else 1


def _shape(part: Any) -> tuple[int, ...] | None:
    """The shape of an array, of a number, or of lists of them; `None` if there is none."""
    if isinstance(part, tuple | list):
        shapes = {_shape(each) for each in part}
        inner = shapes.pop() if len(shapes) == 1 else None
        return None if inner is None else (len(part), *inner)
    if hasattr(part, "shape"):
        return tuple(part.shape)
    return () if isinstance(part, int | float) else None


def as_tensor(answer: Any) -> Tensor:
    """An answer as a tensor of real numbers, without a graph. It may be a tensor, an array of any library, or lists.

    Raises:
        TypeError: the answer is something else, or its numbers are complex.
    """
    found = _dense(answer.detach()) if isinstance(answer, Tensor) else _from_dlpack(answer)
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


def _dense(answer: Tensor) -> Tensor:
    """A tensor of any storage as a plain one."""
    if answer.is_meta:
        raise InvalidType("the black box answered a tensor on the device meta, without values; load its weights first")
    if answer.is_quantized:
        return answer.dequantize()
    if answer.is_nested:  # rows that end early are filled up with NaN, which is refused
        answer = torch.nested.to_padded_tensor(answer, float("nan"))
    return answer if answer.layout == torch.strided else answer.to_dense()


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
        if isinstance(answer, np.ma.MaskedArray):
            return np.where(np.ma.getmaskarray(answer), np.nan, answer.data)
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
