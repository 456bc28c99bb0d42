"""Sensitivity-n (Ancona et al. 2018, arXiv:1711.06104): do the parts of a map add up to what removing them costs?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from freemcg.blackbox import BlackBox
from freemcg.diffusion.noise import generator_for
from freemcg.evaluation.infill import Infill, mean_colour
from freemcg.evaluation.saliency import check_maps
from freemcg.gradient.objective import Objective, log_odds
from freemcg.messages.errors import InvalidValue

FRACTIONS = (0.03, 0.1, 0.3, 0.8)


@dataclass(frozen=True)
class SensitivityN:
    """Correlations of the sums of a map with the drops of the score, float64 in [-1, 1]. Higher is better.

    Attributes:
        mean: the mean over the sizes of the sets, `(N,)`.
        correlations: Pearson's correlation over the sets of each size, `(N, F)`. It is 0 by our choice where all sums
            or all drops are equal.
    """

    mean: Tensor
    correlations: Tensor


def sensitivity_n(
    black_box: BlackBox,
    images: Tensor,
    attributions: Tensor,
    targets: Tensor,
    *,
    fractions: tuple[float, ...] = FRACTIONS,
    sets: int = 16,
    infill: Infill = mean_colour,
    objective: Objective = log_odds,
    seed: int = 0,
) -> SensitivityN:
    """Remove random sets of `n` pixels, and correlate the drops of the score with the sums of the map (section 4).

    It asks of a map that it is made of contributions. For a map that is like a gradient, use `infidelity`. A linear
    score has correlation 1 with the map of what each pixel adds beyond its infill. The paper takes 100 sets of each
    size.

    Args:
        black_box: its answers are read. Give a separate one, so that no method is charged for being measured.
        images: `(N, C, H, W)` in [0, 1].
        attributions: attributions of the same shape.
        targets: the class of each image, `(N,)`.
        fractions: the sizes `n` of the sets, as fractions of the pixels. A pixel goes with all its channels.
        sets: the random sets of each size. They are the same for every image and method.
        infill: what replaces removed pixels.
        objective: the score, read off log-probabilities.

    An image costs `len(fractions) * sets + 1` queries.

    Raises:
        ValueError: the shapes differ, an attribution is NaN or infinite, or an argument is out of range.
    """
    check_maps(images, attributions, targets)
    if not fractions or not all(0 < each < 1 for each in fractions) or sets < 2:
        raise InvalidValue(f"sensitivity-n needs fractions between 0 and 1 and sets >= 2, got {fractions} and {sets}")
    removed = torch.cat([_random_sets(images.shape[2:], each, sets, seed) for each in fractions]).to(images.device)
    sums = attributions.double().sum(dim=1).flatten(1) @ removed.flatten(1).double().T
    drops = []
    for image, target in zip(images, targets.tolist(), strict=True):
        scores = objective(black_box(torch.cat([image[None], infill(image, removed)])).double(), target)
        drops.append(scores[0] - scores[1:])
    correlations = _pearson(*(each.unflatten(1, (len(fractions), sets)) for each in (sums, torch.stack(drops))))
    return SensitivityN(correlations.mean(dim=1), correlations)


def _random_sets(size: torch.Size, fraction: float, sets: int, seed: int) -> Tensor:
    """`sets` random sets of a fraction of the pixels, at least one, `(sets, H, W)`."""
    order = torch.rand(sets, size.numel(), generator=generator_for(seed, "sensitivity-n", str(fraction))).argsort(dim=1)
    return (order < max(1, round(fraction * size.numel()))).reshape(sets, *size)


def _pearson(first: Tensor, second: Tensor) -> Tensor:
    """Pearson's correlation over the last axis; 0 where one side is constant up to rounding."""
    sides = [each - each.mean(dim=-1, keepdim=True) for each in (first, second)]
    lengths = [each.norm(dim=-1) for each in sides]
    moves = (lengths[0] > 1e-9 * first.norm(dim=-1)) & (lengths[1] > 1e-9 * second.norm(dim=-1))
    product = (sides[0] * sides[1]).sum(dim=-1)
    correlation: Tensor = torch.where(moves, product / (lengths[0] * lengths[1]).clamp(min=1e-300), 0.0)
    return correlation.clamp(-1, 1)
