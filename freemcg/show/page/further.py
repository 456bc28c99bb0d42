"""A further table on the page of a comparison, which opens when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Further:
    """A table.

    Attributes:
        title: its title.
        words: a sentence above it.
        header: the names of its columns.
        rows: its cells, as text. The first of a row names it.
    """

    title: str
    words: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
