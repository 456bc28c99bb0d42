"""Noisy linear imputation (Rong et al. 2022, arXiv:2202.00449): removed pixels from those around them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from freemcg.diffusion.noise import generator_for
from freemcg.evaluation.infill import mean_colour

WEIGHTS = torch.tensor([[1 / 12, 1 / 6, 1 / 12], [1 / 6, 0, 1 / 6], [1 / 12, 1 / 6, 1 / 12]], dtype=torch.double)
TOLERANCE = 1e-7  # of the residual's norm, relative to that of the right-hand side


@dataclass(frozen=True)
class NoisyLinear:
    """An infill: each removed pixel is the weighted mean of its eight neighbours, plus noise.

    Neighbours at an edge weigh 1/6 and diagonal ones 1/12. At the border of the image the weights of those that exist
    are divided by their sum. Removed neighbours are unknown too, so this is a linear system for each question. If all
    pixels are removed, they get the mean colour of the image.

    Attributes:
        noise: the standard deviation of the noise, for images in [0, 1]. Values are then clipped to [0, 1].
        seed: the seed of the noise, which is the same for every question.
    """

    noise: float = 0.01
    seed: int = 0

    def __call__(self, image: Tensor, removed: Tensor) -> Tensor:
        """Images `(K, C, H, W)` in [0, 1] without the `removed` pixels `(K, H, W)` of `image` `(C, H, W)`."""
        drawn = torch.randn(image.shape, generator=generator_for(self.seed, "imputation")).to(image)
        filled = linear_imputation(image, removed) + self.noise * drawn
        return torch.where(removed[:, None], filled.clamp(0, 1), image)


def linear_imputation(image: Tensor, removed: Tensor) -> Tensor:
    """`image` `(C, H, W)` with its `removed` pixels `(K, H, W)` solved from the others, `(K, C, H, W)`.

    With the weights `W` and their sums `S` over the neighbours that exist, the removed pixels `u` solve `(S - W) u = W
    k`, where `k` are the kept pixels. This matrix is symmetric and positive definite, so conjugate gradients find `u`
    (Hestenes, Stiefel 1952).
    """
    unknown = removed[:, None].to(torch.double)
    sums = _neighbours(torch.ones_like(image[:1], dtype=torch.double)[None])
    known = image.double() * (1 - unknown)
    found = mean_colour(image.double(), removed) * unknown
    right = unknown * _neighbours(known)
    residual = unknown * (right - sums * found + _neighbours(found))
    residual = torch.where(removed.all(dim=(1, 2))[:, None, None, None], 0.0, residual)
    direction, squared = residual, _dot(residual, residual)
    enough = TOLERANCE**2 * _dot(right, right).clamp(min=1e-30)
    for _ in range(image[0].numel()):
        if (squared <= enough).all():
            break
        applied = unknown * (sums * direction - _neighbours(direction))
        length = squared / _dot(direction, applied).clamp(min=1e-300)
        found = found + length * direction
        residual = residual - length * applied
        before, squared = squared, _dot(residual, residual)
        direction = residual + squared / before.clamp(min=1e-300) * direction
    return torch.where(removed[:, None], found.to(image.dtype), image)


def _neighbours(images: Tensor) -> Tensor:
    """The weighted sum of the neighbours of each pixel of `(K, C, H, W)`, with nothing beyond the border."""
    weights = WEIGHTS.to(images)[None, None].expand(images.shape[1], 1, 3, 3)
    return F.conv2d(images, weights, padding=1, groups=images.shape[1])


def _dot(first: Tensor, second: Tensor) -> Tensor:
    """The inner product of each channel, `(K, C, 1, 1)`."""
    return (first * second).sum(dim=(2, 3), keepdim=True)
