"""The tangent space that particles span: what an ensemble knows about the manifold, without any derivative."""

from __future__ import annotations

import torch
from torch import Tensor

from freemcg.messages.errors import InvalidValue
from manifolds.tangent import TangentSpace

FLOOR = 1e-10  # as a share of the largest singular value; smaller ones are rounding errors


def ensemble_tangent_space(
    particles: Tensor, *, rank: int | None = None, explained: float | None = None
) -> TangentSpace:
    """The leading principal directions of particles, by a singular value decomposition of their anomalies.

    Args:
        particles: `(M, C, H, W)` or `(M, D)`, such as denoised noisy copies of an image (`freemcg.gradient.estimator`).
        rank: the number of directions.
        explained: instead of `rank`, a share of the variance, in (0, 1]. The fewest leading directions that hold it are
            taken.

    The computation is in float64 and takes `O(M^2 D)`.

    Raises:
        ValueError: not exactly one of `rank` and `explained` is given, or it is out of range. Or there are fewer than
            two particles, or all particles are alike.
    """
    if (rank is None) == (explained is None):
        raise InvalidValue(f"give one of rank and explained, got rank {rank} and explained {explained}")
    if explained is not None and not 0 < explained <= 1:
        raise InvalidValue(f"explained must be in (0, 1], got {explained}")
    if len(particles) < 2:
        raise InvalidValue(f"a tangent space needs at least 2 particles, got {len(particles)}")
    rows = particles.flatten(1).double()
    _, sizes, directions = torch.linalg.svd(rows - rows.mean(dim=0), full_matrices=False)
    if sizes[0] <= FLOOR * rows.abs().max():
        raise InvalidValue(f"all {len(particles)} particles are alike and span no direction; give different ones")
    spanned = int((sizes > FLOOR * sizes[0]).sum())
    if explained is not None:
        share = sizes.square().cumsum(0) / sizes.square().sum()
        rank = min(spanned, int((share < explained - 1e-12).sum()) + 1)
    assert rank is not None
    if not 1 <= rank <= spanned:
        raise InvalidValue(f"rank must be in 1..{spanned}, the directions that the particles span, got {rank}")
    return TangentSpace(directions[:rank])
