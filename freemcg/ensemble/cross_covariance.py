"""The paper's estimate: the covariance of particles and scores (Kim et al. 2025; Iglesias, Law, Stuart 2013)."""

from __future__ import annotations

import math

from torch import Tensor

from freemcg.ensemble.anomalies import anomalies, weighted_anomalies
from freemcg.ensemble.estimate import ErrorParts, Estimate


def cross_covariance(particles: Tensor, scores: Tensor, weights: Tensor) -> Estimate:
    """`g = X Y^T v`, an estimate of `C_xx J^T v`: the gradient preconditioned by the local covariance of the manifold.

    For a linear score `f(x) = A x` and any ensemble it is exactly `C_xx A^T v`, with the ensemble's own covariance.

    Args:
        particles: `(K, D)`.
        scores: the black box's answers for the particles, `(K, S)`.
        weights: the gradient of the objective with respect to the scores, `(S,)`.

    Returns:
        The estimate in units of `score * x`. Its standard error is the delete-one jackknife's (Efron, Stein 1981), in
        closed form. With `d_i = (x_i - xb) <y_i - yb, v>` the estimate without particle `i` is
        `(K-1)/(K-2) g - K / ((K-1)(K-2)) d_i`, so no estimate is computed twice. The error is about the population's
        `Cov(x, y) v`; the particles are a sample of that population.
    """
    count = len(particles)
    deviations, along = anomalies(particles), weighted_anomalies(scores, weights)
    gradient = along @ deviations
    if count < 3:
        return Estimate(gradient, gradient.new_full(gradient.shape, float("inf")))
    # d_i = (K-1) * deviations_i * along_i, with mean (K-1) g / K
    squares = (count - 1) ** 2 * (along.square() @ deviations.square())
    spread = squares - ((count - 1) * gradient).square() / count
    variance = count / ((count - 1) * (count - 2) ** 2) * spread.clamp(min=0)
    parts = ErrorParts(0.0, variance.sum().item(), math.inf, count)
    return Estimate(gradient, variance.sqrt(), parts)
