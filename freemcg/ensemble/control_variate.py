"""The default estimate: many unpaid particles carry a linear model; few paid ones correct it and give its error.

The linear model comes from the answers at the sigma points, and costs nothing to apply to every particle. The paid
particles measure what it misses. Methods of this form are known as control variates, as difference estimators in survey
sampling (Cassel, Saerndal, Wretman 1976), and as prediction-powered inference (Angelopoulos et al. 2023).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from freemcg.ensemble.blocks import Rows, column_blocks
from freemcg.ensemble.estimate import ErrorParts, Estimate


def control_variate(
    particles: Tensor | Rows, predicted: Tensor, values: Tensor, *, paid: Tensor | None = None
) -> Estimate:
    """`g = Cov_M(x, f_lin) + a Cov_K(x, y - f_lin)`, an estimate of the population's `Cov(x, y)`.

    With `a = 1` it is unbiased for any linear model. But a correction that is no larger than its own noise does harm.
    So it is shrunk, with one factor for the whole map (James, Stein 1961): `a = b / (b + s)`. Here `s` is the sum of
    its squared standard errors, and `b` is the square of what the model misses; see `estimated_misfit`.

    Args:
        particles: all particles, `(M, D)`, drawn independently. The first `K` were queried.
        predicted: `f_lin` of each particle, `(M,)`, from other answers than `values`.
        values: `y` of the first `K` particles, `(K,)`.
        paid: the first `K` particles as they were queried, `(K, D)`, if `particles` holds a linear model of them; see
            `Pushforward`. The correction is then `Cov_K(x, y) - Cov_K(x_lin, f_lin)`, so it corrects both models.

    Returns:
        The estimate in units of `score * x`. Its standard error is that of the two means over particles, with their
        covariance, since the first `K` enter both. Shrinking leaves out a part of the correction, so `a (1 - a)` of the
        correction's variance is added. With it, `a` of that variance counts, as for a posterior under a normal prior of
        variance `b` (Morris 1983). The correction's variance is the delete-one jackknife's, as in `cross_covariance`.
        The error is infinite for `K < 3`.
    """
    drawn, asked = len(particles), len(values)
    first = particles[:asked]
    paid = first if paid is None else paid
    guess = predicted - predicted.mean()
    mean, linear, own = guess.new_empty(3, particles.shape[1])
    for columns in column_blocks(particles):
        block = particles[:, columns]
        mean[columns] = block.mean(dim=0)
        deviations = block - mean[columns]
        linear[columns] = (along := guess @ deviations) / (drawn - 1)
        own[columns] = guess.square() @ deviations.square() - along.square() / drawn
    if asked < 3:
        return Estimate(linear, torch.full_like(linear, float("inf")))
    missed = values - predicted[:asked]
    apart = paid - paid.mean(dim=0)
    terms = (missed - missed.mean())[:, None] * apart
    off = apart - (first - first.mean(dim=0))  # what a linear model of the particles misses
    terms = terms + (predicted[:asked] - predicted[:asked].mean())[:, None] * off
    correction = terms.sum(dim=0) / (asked - 1)

    # The variances of the two means and their covariance, pixel by pixel, from what each particle adds to them.
    terms = (terms - terms.mean(dim=0)) * (asked / (asked - 2))
    sampling = own.clamp(min=0) / (drawn * (drawn - 1))
    residual = terms.square().sum(dim=0) / (asked * (asked - 1))
    shared = (guess[:asked, None] * (first - mean) * terms).sum(dim=0) / (drawn * (asked - 1))

    noise, misfit = residual.sum().item(), estimated_misfit(correction, terms)
    shrink = misfit / (misfit + noise) if noise > 0 else 1.0
    variance = sampling + 2 * shrink * shared + shrink * residual
    parts = ErrorParts(sampling.sum().item(), noise, misfit, asked)
    return Estimate(linear + shrink * correction, variance.clamp(min=0).sqrt(), parts)


def estimated_misfit(correction: Tensor, terms: Tensor) -> float:
    """What the linear model misses, `|Cov(x, y - f_lin)|^2`, estimated from the correction and its noise.

    `|correction|^2` exceeds it by the noise `s`, with a standard deviation near `s sqrt(2 / nu)`. Here `nu` counts the
    independent directions of the noise (Satterthwaite 1946). The difference can be negative. So the estimate is the
    mean of the normal distribution around it, cut off below zero. That mean is never negative.

    Args:
        terms: the part of each paid particle in the correction, centred and scaled for the jackknife, `(K, D)`.
    """
    count = len(terms)
    gram = (terms @ terms.T).double() / (count * (count - 1))
    noise = gram.trace()
    if noise == 0:
        return 0.0
    spread = gram.norm() * math.sqrt(2)
    ratio = (correction.double().square().sum() - noise) / spread
    lift = torch.exp(-(ratio.square()) / 2 - torch.special.log_ndtr(ratio)) / math.sqrt(2 * math.pi)
    return max(0.0, float(spread * (ratio + lift)))
