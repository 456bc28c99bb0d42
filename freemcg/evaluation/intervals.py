"""95 % intervals of a mean and of a share."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

Z = 1.959964


@dataclass(frozen=True)
class Interval:
    """A figure and the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        return f"{self.value:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"


def share_interval(hits: Tensor) -> Interval:
    """Share of true entries in `(N,)`, with Wilson's score interval (1927), which holds near 0 and 1."""
    count = len(hits)
    share = hits.double().mean().item()
    middle = (share + Z**2 / (2 * count)) / (1 + Z**2 / count)
    half = Z / (1 + Z**2 / count) * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half))


def mean_interval(values: Tensor, *, seed: int = 0, draws: int = 2000) -> Interval:
    """Mean of `(N,)`, with the percentile bootstrap over the entries (Efron 1979)."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(values), (draws, len(values)), generator=generator)
    means = values.double()[chosen].mean(dim=1)
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=torch.double)).tolist()
    return Interval(values.double().mean().item(), low, high)
