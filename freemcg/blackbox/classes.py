"""Classes by name and by index."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

from freemcg.messages.arguments import plain
from freemcg.messages.errors import InvalidType, InvalidValue


def in_order(names: Sequence[str] | Mapping[int, str] | None) -> tuple[str, ...] | None:
    """The class names by index. A mapping, such as a model's `id2label`, must name each index from 0 up.

    Raises:
        TypeError: the names have no order, or one is no text. A whole number counts as its digits.
        ValueError: a mapping leaves an index out.
    """
    if names is None:
        return None
    if isinstance(names, Mapping):
        by_index = {_named_index(key): name for key, name in names.items()}
        if sorted(by_index) != list(range(len(names))):
            raise InvalidValue(
                f"class_names must name each class from 0 to {len(names) - 1}, got the indices {sorted(by_index)}"
            )
        names = [by_index[index] for index in range(len(names))]
    elif isinstance(names, str | bytes | set | frozenset) or not hasattr(names, "__iter__"):
        raise InvalidType(f"class_names must be a list of names in the order of the scores, got {names!r}")
    return tuple(_name(name) for name in plain(names))


def class_index(target: int | str | Any, names: Sequence[str] | None, classes: int | None) -> int:
    """The index of a class given by name or by index.

    Args:
        target: the name, or the index as a whole number of any kind, numpy's and torch's too. It may be alone in a
            list, tuple or array.
        names: the names of the classes, if they have names.
        classes: the number of classes, if it is known.

    Raises:
        TypeError: `target` is neither a name nor a whole number.
        ValueError: there is no such class, or several have the name.
    """
    target = plain(target)
    while isinstance(target, list | tuple) and len(target) == 1:
        target = plain(target[0])
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


def each_target(target: Any, images: int) -> list[Any]:
    """A target for each of several images, from one for all or one for each, in a list, tuple, array or tensor.

    Raises:
        ValueError: their number is neither 1 nor that of the images.
    """
    target = plain(target)
    if not isinstance(target, list | tuple):
        return [target] * images
    if len(target) not in (1, images):
        raise InvalidValue(f"there are {images} images but {len(target)} targets")
    return list(target) * (images if len(target) == 1 else 1)


def _named_index(key: Any) -> int:
    """A key of a mapping of class names. JSON makes texts of them."""
    try:
        return int(key) if isinstance(key, str) else _whole(key)
    except (TypeError, ValueError):
        raise InvalidType(f"class_names must map each index to its name, got the index {key!r}") from None


def _name(name: Any) -> str:
    plain_name = plain(name)
    if isinstance(plain_name, bool) or not isinstance(plain_name, str | int):
        raise InvalidType(f"class_names must be texts, got {name!r}")
    return str(plain_name)


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
