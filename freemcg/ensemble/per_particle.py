"""The reference program's estimate: each particle's own term of the cross-covariance (Kim et al. 2025)."""

from __future__ import annotations

from torch import Tensor


def per_particle(particles: Tensor, scores: Tensor, weights: Tensor) -> Tensor:
    """`g^k = (xh^k - xb) <y^k - yb, v^k>` for particles `(K, D)` and scores `(K, S)`, as `(K, D)`.

    Args:
        weights: the gradient of the objective, `(S,)` for all particles or `(K, S)` for each.

    Returns:
        One term per particle. With `weights` `(S,)`, their sum divided by `K - 1` is the cross-covariance estimate.
    """
    along = ((scores - scores.mean(dim=0)) * weights).sum(dim=1, keepdim=True)
    return (particles - particles.mean(dim=0)) * along
