"""Sums over all pixels of all particles, a block of columns at a time, so that none needs a copy of the particles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from freemcg.ensemble.anomalies import anomalies

NUMBERS = 2**20
"""The numbers in a block. Nothing but the memory and the last bits of a sum depend on it."""


class Rows(Protocol):
    """Rows `(N, D)`, any part of them: those of a tensor, or rows that are computed when they are read."""

    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102
    def __len__(self) -> int: ...
    def __getitem__(self, key: slice | tuple[slice, slice]) -> Tensor: ...


def column_blocks(rows: Rows | Tensor) -> Iterator[slice]:
    """The columns of rows `(N, D)` in order, as many at a time as a block holds, and one at least."""
    width = max(1, NUMBERS // max(1, len(rows)))
    return (slice(first, first + width) for first in range(0, rows.shape[1], width))


def row_blocks(rows: Tensor) -> Sequence[Tensor]:
    """Rows `(N, D)` in order, as many at a time as a block holds, and one at least."""
    some: Sequence[Tensor] = rows.split(max(1, NUMBERS // max(1, rows.shape[1])))
    return some


def gram_matrix(rows: Tensor) -> Tensor:
    """`A A^T` of the anomalies `A` of rows `(K, D)`, `(K, K)` in float64.

    Raises:
        ValueError: there are fewer than two rows.
    """
    gram = torch.zeros(len(rows), len(rows), dtype=torch.double, device=rows.device)
    for columns in column_blocks(rows):
        deviations = anomalies(rows[:, columns].double())
        gram += deviations @ deviations.T
    return gram
