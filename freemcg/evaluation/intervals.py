"""95 % intervals of a mean, of a share and of a ratio.

Measurements of one image with several seeds are one cluster. The bootstrap draws whole images: the seeds of an image
tell about that image, not about others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

Z = 1.959964


@dataclass(frozen=True)
class Interval:
    """A figure and the ends of its 95 % interval. The ends are NaN if one image is all there is."""

    value: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        if math.isnan(self.low):
            return f"{self.value:{spec}}"
        return f"{self.value:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"


def share_interval(hits: Tensor, *, clusters: Tensor | None = None) -> Interval:
    """Share of true entries in `(N,)`, with Wilson's score interval (1927), which holds near 0 and 1.

    Args:
        clusters: the image that each entry belongs to, `(N,)` integers. With `None`, each entry is an image. Clusters
            give the interval of the effective number of entries: `p (1 - p)` over the variance of the share between
            clusters (Kish 1965). It is the number of images if their seeds agree, and N if they do not. A share of 0
            or 1 does not show whether they agree, so then the images are counted.
    """
    count = len(hits) if clusters is None else _effective_count(hits, clusters)
    share = hits.double().mean().item()
    middle = (share + Z**2 / (2 * count)) / (1 + Z**2 / count)
    half = Z / (1 + Z**2 / count) * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half))


def mean_interval(values: Tensor, *, clusters: Tensor | None = None, seed: int = 0, draws: int = 2000) -> Interval:
    """Mean of `(N,)`, with the percentile bootstrap over the entries (Efron 1979).

    Args:
        clusters: the image that each entry belongs to, `(N,)` integers. With `None`, each entry is an image. Whole
            clusters are drawn (Davison, Hinkley 1997, section 3.8). One cluster tells nothing about others, so it has
            no interval.
    """
    sums, sizes = _per_cluster(values, torch.arange(len(values)) if clusters is None else clusters)
    return _ratio_of_sums(sums, sizes, seed=seed, draws=draws)


def ratio_interval(values: Tensor, reference: Tensor, *, seed: int = 0, draws: int = 2000) -> Interval:
    """Mean of `values` `(N,)` divided by the mean of `reference` `(N,)`; entry `i` of both belongs to one image.

    The percentile bootstrap draws both entries of an image at once. So an image that is hard for both does not widen
    the interval. One image has no interval.
    """
    return _ratio_of_sums(values.double(), reference.double(), seed=seed, draws=draws)


def _ratio_of_sums(above: Tensor, below: Tensor, *, seed: int, draws: int) -> Interval:
    ratio = (above.sum() / below.sum()).item()
    if len(above) == 1:
        return Interval(ratio, math.nan, math.nan)
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(above), (draws, len(above)), generator=generator)
    ratios = above[chosen].sum(dim=1) / below[chosen].sum(dim=1)
    low, high = ratios.quantile(torch.tensor([0.025, 0.975], dtype=torch.double)).tolist()
    return Interval(ratio, low, high)


def _per_cluster(values: Tensor, clusters: Tensor) -> tuple[Tensor, Tensor]:
    """Sum and size of each cluster, float64."""
    _, member = clusters.unique(return_inverse=True)
    sizes = member.bincount().double()
    return torch.zeros_like(sizes).index_add(0, member, values.double()), sizes


def _effective_count(hits: Tensor, clusters: Tensor) -> float:
    """The number of independent entries that would make the share as uncertain as the clusters do, at most N."""
    sums, sizes = _per_cluster(hits, clusters)
    share = sums.sum() / sizes.sum()
    if share in (0, 1):
        return len(sums)
    variance = (sums - share * sizes).square().sum() / sizes.sum() ** 2
    return min(float(len(hits)), (share * (1 - share) / variance).item())
