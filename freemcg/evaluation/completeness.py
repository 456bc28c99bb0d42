"""Completeness (Sundararajan, Taly, Yan 2017, arXiv:1703.01365): does a map add up to what the image adds?"""

from __future__ import annotations

import torch
from torch import Tensor

from freemcg.blackbox import BlackBox
from freemcg.evaluation.infill import Infill, mean_colour
from freemcg.evaluation.saliency import check_maps
from freemcg.gradient.objective import Objective, log_odds


def completeness_residual(
    black_box: BlackBox,
    images: Tensor,
    attributions: Tensor,
    targets: Tensor,
    *,
    baseline: Infill = mean_colour,
    objective: Objective = log_odds,
) -> Tensor:
    """`|sum(a) - d| / |d|` with `d = f(x) - f(x')`, where all pixels of `x'` are removed, `(N,)` float64 in [0, inf).

    Lower is better; 0 is complete, and a map of zeros has 1. Compare a map only with the baseline and the score for
    which it was made. It is infinite or NaN if the image and its baseline have the same score.

    Args:
        baseline: the infill that makes `x'`.
        objective: the score, read off log-probabilities.

    An image costs 2 queries.

    Raises:
        ValueError: the shapes differ, or an attribution is NaN or infinite.
    """
    check_maps(images, attributions, targets)
    everything = torch.ones(1, *images.shape[2:], dtype=torch.bool, device=images.device)
    drops = []
    for image, target in zip(images, targets.tolist(), strict=True):
        first, last = objective(black_box(torch.cat([image[None], baseline(image, everything)])).double(), target)
        drops.append(first - last)
    drop = torch.stack(drops)
    return (attributions.double().flatten(1).sum(dim=1) - drop).abs() / drop.abs()
