"""How alike two maps are as pictures: Pearson's correlation, and structural similarity."""

from __future__ import annotations

import torch
from torch import Tensor

from freemcg.evaluation.blur import gaussian_blur
from freemcg.messages.errors import InvalidValue

WINDOW = 1.5  # standard deviation of the Gaussian window, in pixels
STABLE = (0.01**2, 0.03**2)  # for values in [0, 1]


def pearson(maps: Tensor, others: Tensor) -> Tensor:
    """Pearson's correlation of each of `maps` `(N, ...)` with its counterpart, `(N,)` float64 in [-1, 1].

    It is NaN if one of them is constant.

    Raises:
        ValueError: the shapes differ.
    """
    first, second = (each.double().flatten(1) for each in _alike(maps, others))
    first, second = (each - each.mean(dim=1, keepdim=True) for each in (first, second))
    found: Tensor = (first * second).sum(dim=1) / (first.norm(dim=1) * second.norm(dim=1))
    return found.clamp(-1, 1)


def structural_similarity(maps: Tensor, others: Tensor) -> Tensor:
    """SSIM (Wang, Bovik, Sheikh, Simoncelli 2004, equation 13) of absolute maps, `(N,)` float64 in [-1, 1].

    Absolute values are summed over channels and divided by their largest, so maps of other scales are alike; this is
    our choice. The window is a Gaussian of 1.5 pixels, mirrored at the edges.

    Args:
        maps, others: `(N, C, H, W)`.

    Raises:
        ValueError: the shapes differ.
    """
    first, second = (_shown(each) for each in _alike(maps, others))
    mean, other = (gaussian_blur(each, WINDOW) for each in (first, second))
    variance = gaussian_blur(first.square(), WINDOW) - mean.square()
    other_variance = gaussian_blur(second.square(), WINDOW) - other.square()
    covariance = gaussian_blur(first * second, WINDOW) - mean * other
    bright, contrast = STABLE
    likeness: Tensor = (
        (2 * mean * other + bright)
        * (2 * covariance + contrast)
        / ((mean.square() + other.square() + bright) * (variance + other_variance + contrast))
    )
    return likeness.mean(dim=(1, 2))


def _alike(maps: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    if maps.shape != others.shape:
        raise InvalidValue(f"maps to compare must have one shape, got {tuple(maps.shape)} and {tuple(others.shape)}")
    return maps, others


def _shown(maps: Tensor) -> Tensor:
    size = maps.double().abs().sum(dim=1)
    return size / size.amax(dim=(1, 2), keepdim=True).clamp(min=torch.finfo(torch.double).tiny)
