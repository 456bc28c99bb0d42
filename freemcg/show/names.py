"""The names of classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def class_name(record: Mapping[str, Any], index: int) -> str:
    """The name of a class in the record of a result; its index if the classes have no names."""
    names = record.get("class_names")
    return str(index) if names is None else str(names[index])
