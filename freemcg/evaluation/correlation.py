"""Rank correlation of attributions."""

from __future__ import annotations

import torch
from torch import Tensor

from freemcg.messages.errors import InvalidValue


def spearman(maps: Tensor, others: Tensor) -> Tensor:
    """Spearman's correlation (1904) of each of `maps` `(N, ...)` with its counterpart, `(N,)` in [-1, 1].

    It is Pearson's correlation of the ranks; equal values share the mean of their ranks. A map of equal values has no
    order. By our choice its correlation is 0.

    Raises:
        ValueError: the shapes differ.
    """
    if maps.shape != others.shape:
        raise InvalidValue(f"maps to correlate must have one shape, got {tuple(maps.shape)} and {tuple(others.shape)}")
    first, second = (_ranks(each.flatten(1)) for each in (maps, others))
    lengths = first.norm(dim=1) * second.norm(dim=1)
    correlation: Tensor = torch.where(lengths > 0, (first * second).sum(dim=1) / lengths.clamp(min=1e-12), 0.0)
    return correlation.clamp(-1, 1)


def _ranks(values: Tensor) -> Tensor:
    """Ranks within each row of `(N, D)`, minus their mean, float64. Equal values share the mean of their ranks."""
    ordered = values.contiguous().sort(dim=1).values
    smaller = torch.searchsorted(ordered, values.contiguous())
    not_larger = torch.searchsorted(ordered, values.contiguous(), right=True)
    return (smaller + not_larger - values.shape[1]).double() / 2
