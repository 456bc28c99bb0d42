"""The names of classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MOST = 32


def class_name(record: Mapping[str, Any], index: int) -> str:
    """The name of a class in the record of a result; its index if the classes have no names."""
    names = record.get("class_names")
    return str(index) if names is None else str(names[index])


def short_name(record: Mapping[str, Any], index: int) -> str:
    """The name of a class for the middle of a sentence: a name of more than 32 characters ends with three dots."""
    name = class_name(record, index)
    return name if len(name) <= MOST else f"{name[: MOST - 3].rstrip()}..."
