"""Tangent spaces from a denoiser's Jacobian.

The Jacobian of `x_t -> E[x_0 | x_t]` is `Cov[x_0 | x_t]` up to a factor (Tweedie), and near a data manifold that
covariance lives in its tangent space: the leading singular vectors span it. The whole matrix, `D x D`, is never made.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from freemcg.messages.errors import InvalidValue
from manifolds.randomised_svd import LeadingSVD, randomised_svd
from manifolds.tangent import TangentSpace

Denoise = Callable[[Tensor], Tensor]


def denoiser_tangent_space(
    denoise: Denoise,
    point: Tensor,
    *,
    rank: int,
    iterations: int = 2,
    batch_size: int = 16,
    generator: torch.Generator | None = None,
) -> TangentSpace:
    """The `rank` leading directions in which the denoised image moves, as its noisy image does.

    Arguments, errors and cost as `jacobian_svd`.
    """
    found = jacobian_svd(denoise, point, rank=rank, iterations=iterations, batch_size=batch_size, generator=generator)
    return TangentSpace(found.left)


def jacobian_svd(
    denoise: Denoise,
    point: Tensor,
    *,
    rank: int,
    iterations: int = 2,
    batch_size: int = 16,
    generator: torch.Generator | None = None,
) -> LeadingSVD:
    """Leading singular values and vectors of the Jacobian of a denoiser at one noisy image.

    Args:
        denoise: from noisy images `(N, C, H, W)` to denoised ones, differentiable, each from its own alone, such as
            `denoiser.differentiable(t)` of a `freemcg.Denoiser`.
        point: the noisy image `(C, H, W)`: `denoiser.add_noise(image, t, noise)` with a draw of noise. A network has
            seen no image of timestep `t` without noise, and there its Jacobian says nothing of the manifold: on two of
            the bundled digits (`t = 200`, rank 16) the exact directions had alignment 0.08 without noise, 0.87 with it.
        rank: how many singular vectors.
        iterations: of `randomised_svd`.
        batch_size: products at once. Changes memory, not results.
        generator: of the random start, on the CPU.

    Raises:
        ValueError: a number is out of range, `point` is no single image, or `denoise` does not depend on it
            differentiably.

    Costs `(iterations + 1) (rank + 8)` Jacobian-vector and as many vector-Jacobian products. The former are two of the
    latter, nested (the product is the derivative of `u -> J^T u`), as forward-mode differentiation does not know every
    layer of a diffusion network.
    """
    if point.ndim != 3:
        raise InvalidValue(f"one noisy image at a time, (C, H, W), got {tuple(point.shape)}")
    if batch_size < 1:
        raise InvalidValue(f"batch_size must be >= 1, got {batch_size}")
    count = min(batch_size, point.numel())
    points = point.detach().repeat(count, 1, 1, 1).requires_grad_(True)
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):  # fused attention cannot be differentiated twice
        answers = denoise(points)
        if not answers.requires_grad:
            raise InvalidValue(
                "denoise cannot be differentiated; hand over a function that keeps gradients, such as "
                "freemcg's denoiser.differentiable(t)"
            )
        weights = torch.zeros_like(answers, requires_grad=True)
        (pulled,) = torch.autograd.grad(answers, points, weights, create_graph=True)

        def product(vectors: Tensor) -> Tensor:
            return _batched(vectors, pulled, weights)

        def adjoint(vectors: Tensor) -> Tensor:
            return _batched(vectors, answers, points)

        return randomised_svd(product, adjoint, point.numel(), rank, iterations=iterations, generator=generator)


def _batched(vectors: Tensor, answers: Tensor, points: Tensor) -> Tensor:
    """`v^T d answers / d points` of rows `(l, D)`, each in a row of the batch; the graph is used again and again."""
    parts = []
    for part in vectors.split(len(points)):
        seeds = torch.zeros_like(answers)
        seeds[: len(part)] = part.reshape(-1, *answers.shape[1:]).to(answers)
        (moved,) = torch.autograd.grad(answers, points, seeds, retain_graph=True)
        parts.append(moved[: len(part)].flatten(1).to(vectors))
    return torch.cat(parts)
