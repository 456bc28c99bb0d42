"""Do methods, or measures, agree? Rank correlations between maps, and between rankings of methods."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from freemcg.evaluation.correlation import spearman


def map_agreement(maps: Tensor) -> Tensor:
    """Spearman's correlation between the maps of each two methods, mean over images, `(K, K)` in [-1, 1].

    The diagonal is 1. Agreement is no truth: methods may be wrong alike (Krishna et al. 2022, arXiv:2202.01602).

    Args:
        maps: the maps of `K` methods for the same `N` images, `(K, N, C, H, W)`.
    """
    matrix = torch.eye(len(maps), dtype=torch.double)
    for one, other in combinations(range(len(maps)), 2):
        matrix[one, other] = matrix[other, one] = spearman(maps[one], maps[other]).mean()
    return matrix


def ranks(figures: Tensor, *, higher_is_better: bool) -> Tensor:
    """The rank of each of `K` methods under a figure `(K,)`: 1 is the best, equal ones share their mean rank.

    A method without a figure (NaN) has no rank (NaN).
    """
    signed = -figures.double() if higher_is_better else figures.double()
    better = (signed[None, :] < signed[:, None]).sum(dim=1)
    equal = (signed[None, :] == signed[:, None]).sum(dim=1)
    return torch.where(figures.isnan(), torch.nan, better + (equal + 1) / 2)


def concordance(rankings: Tensor) -> float:
    """Kendall's coefficient of concordance `W` (Kendall, Babington Smith 1939) of rankings `(M, K)`, in [0, 1].

    It is 1 if all `M` measures rank the `K` methods alike, and near 0 if they have nothing in common. With ties it is
    corrected as usual: `W` is 12 times the squares of the rank sums' deviations, divided by `M^2 (K^3 - K) - M sum
    (t^3 - t)` over groups of `t` tied methods. It is NaN if no measure tells two methods apart.
    """
    count, methods = rankings.shape
    deviations = rankings.double().sum(dim=0) - count * (methods + 1) / 2
    tied = sum(int((group**3 - group).sum()) for group in (row.unique(return_counts=True)[1] for row in rankings))
    below = count**2 * (methods**3 - methods) - count * tied
    return float(12 * deviations.square().sum() / below) if below else float("nan")
