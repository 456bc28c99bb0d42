"""Ridge regression of the scores on the particles: the gradient on their span, without the covariance as a factor."""

from __future__ import annotations

import torch
from torch import Tensor

from freemcg.ensemble.anomalies import anomalies, weighted_anomalies
from freemcg.ensemble.estimate import Estimate
from freemcg.messages.errors import InvalidValue


def regression(particles: Tensor, scores: Tensor, weights: Tensor, *, ridge: float = 1e-6) -> Estimate:
    """`g = X (X^T X + lam I)^-1 Y^T v`, an estimate of `P J^T v`: the gradient projected on the span of the particles.

    It solves a `K x K` system, never a `D x D` one. For a linear score and `lam -> 0` it is exactly that projection.

    Args:
        particles: `(K, D)`.
        scores: `(K, S)`.
        weights: `(S,)`.
        ridge: `lam` as a fraction of the mean eigenvalue of `X^T X`, > 0.

    Returns:
        The estimate in units of `score / x`. Its standard error is the delete-one jackknife's, exact and without a
        second solve. Ridge regression with an intercept is the bordered system `[[G, 1], [1^T, 0]] [a; b] = [y; 0]`
        with `G = X^T X + lam I`. Let `H` be the inverse of the bordered matrix. Deleting row and column `i` changes `a`
        by `-(a_i / H_ii) H_i` (Cawley 2006), and the gradient is `X a`.

    Raises:
        ValueError: there are fewer than two particles, or the ridge is not positive.
    """
    if ridge <= 0:
        raise InvalidValue(f"ridge must be > 0, got {ridge}")
    count = len(particles)
    dtype = particles.dtype  # the Gram matrix is near singular if particles outnumber dimensions, so solve in float64
    deviations, along = anomalies(particles.double()), weighted_anomalies(scores.double(), weights.double())
    gram = deviations @ deviations.T
    scale = gram.diagonal().mean()
    if scale == 0:
        return Estimate(torch.zeros_like(particles[0]), torch.zeros_like(particles[0]))
    bordered = torch.ones(count + 1, count + 1, dtype=gram.dtype, device=gram.device)
    bordered[:count, :count] = gram + ridge * scale * torch.eye(count, dtype=gram.dtype, device=gram.device)
    bordered[count, count] = 0
    inverse = torch.linalg.inv(bordered)[:count, :count]
    dual = inverse @ along
    gradient = dual @ deviations
    leaps = (dual / inverse.diagonal())[:, None] * inverse  # row i: what leaving out particle i takes away from `dual`
    changes = (leaps - leaps.mean(dim=0)) @ deviations
    variance = (count - 1) / count * changes.square().sum(dim=0)
    return Estimate(gradient.to(dtype), variance.sqrt().to(dtype))
