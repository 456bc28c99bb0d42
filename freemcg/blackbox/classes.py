"""Classes by name and by index."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

from freemcg.messages.errors import InvalidType, InvalidValue


def in_order(names: Sequence[str] | Mapping[int, str] | None) -> tuple[str, ...] | None:
    """The class names by index. A mapping, such as a model's `id2label`, must name each index from 0 up."""
    if names is None or not isinstance(names, Mapping):
        return None if names is None else tuple(names)
    by_index = {int(index): name for index, name in names.items()}
    if sorted(by_index) != list(range(len(names))):
        raise InvalidValue(
            f"class_names must name each class from 0 to {len(names) - 1}, got the indices {sorted(by_index)}"
        )
    return tuple(by_index[index] for index in range(len(names)))


def class_index(target: int | str | Any, names: Sequence[str] | None, classes: int | None) -> int:
    """The index of a class given by name or by index.

    Args:
        target: the name, or the index as a whole number of any kind, numpy's and torch's too.
        names: the names of the classes, if they have names.
        classes: the number of classes, if it is known.

    Raises:
        TypeError: `target` is neither a name nor a whole number.
        ValueError: there is no such class, or several have the name.
    """
    if isinstance(target, str):
        found = [index for index, name in enumerate(names or ()) if name == target]
        if len(found) > 1:
            indices = ", ".join(str(index) for index in found)
            raise InvalidValue(f"{len(found)} classes are named {target!r}; name one by its index: {indices}")
        if not found:
            known = "the black box has no class_names" if names is None else _listed(names)
            raise InvalidValue(f"there is no class {target!r}; {known}")
        return found[0]
    index = _whole(target)
    if index < 0 or (classes is not None and index >= classes):
        top = "" if classes is None else f"; classes are 0..{classes - 1}"
        raise InvalidValue(f"there is no class {index}{top}")
    return index


def _whole(target: Any) -> int:
    """A class index. Booleans and numbers with a fraction are refused."""
    try:
        if isinstance(target, bool):
            raise TypeError
        return operator.index(target)
    except TypeError:
        raise InvalidType(f"a class is named by its index (a whole number) or its name, got {target!r}") from None


def _listed(names: Sequence[str]) -> str:
    return "classes are " + ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
