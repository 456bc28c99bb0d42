"""In how many directions an ensemble varies."""

from __future__ import annotations

from torch import Tensor

from freemcg.ensemble.blocks import gram_matrix


def effective_dimension(particles: Tensor) -> float:
    """The participation ratio of the particles' covariance `C`, `tr(C)^2 / tr(C^2)`.

    It is `d` if the particles vary equally in `d` directions, and less if some directions lead. From `M` particles it
    is at most `M - 1`; about `1 / (1 / d + 1 / M)` is seen where `d` is true. It is 0 if the particles are all alike.

    Args:
        particles: `(M, D)`, with `M >= 2`.
    """
    gram = gram_matrix(particles)
    spread, squares = gram.trace().item(), gram.square().sum().item()
    return spread**2 / squares if squares > 0 else 0.0
