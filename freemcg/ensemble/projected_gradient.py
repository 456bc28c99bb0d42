"""The gradient along the queried axes, without the covariance as a factor, and how far it may be off."""

from __future__ import annotations

from torch import Tensor

from freemcg.ensemble.control_variate import estimated_misfit
from freemcg.ensemble.estimate import Estimate
from freemcg.ensemble.principal_axes import PrincipalAxes
from freemcg.ensemble.sigma_points import LinearModel


def projected_gradient(axes: PrincipalAxes, model: LinearModel, particles: Tensor, values: Tensor) -> Estimate:
    """`P grad f`, with `P` the projection on the axes asked along: the slope of the linear model `f_lin`.

    For a linear score it is exact. For another score, the best linear fit to all particles is the truth. With
    `z_i = <x - xb, u_i> / sqrt(lam_i)`, that fit is steeper along `u_i` by `Cov(z_i, y - f_lin) / sqrt(lam_i)`, and
    the paid particles tell how much that is. There are fewer of them than axes, so adding it would bring in more noise
    than it takes away. It is counted as error instead.

    Args:
        axes: the `h` axes asked along.
        model: `f_lin`, through the sigma points on these axes.
        particles: the paid particles, `(K, D)`.
        values: the answers for them, `(K,)`.

    Returns:
        The estimate in units of `score / x`. Its squared standard error is `a V + (a c)^2`, the mean square of what the
        slope misses, given the answers: `c` is that steepness as the particles show it, in pixels, `V` its variance by
        the delete-one jackknife, and `a = b / (b + s)` as in `control_variate`, with the sizes `b` of `Cov(z, y -
        f_lin)` and `s` of its noise. The error is cautious, since `b` is never estimated as zero. It says nothing about
        axes that were not asked along, and it is infinite for `K < 3`.
    """
    asked = len(particles)
    if asked < 3:
        return Estimate(model.slope, model.slope.new_full(model.slope.shape, float("inf")))
    whitening = axes.directions / axes.variances.sqrt()[:, None]  # from pixels to z, and from slopes in z to pixels
    missed = values - model(particles)
    terms = (missed - missed.mean())[:, None] * ((particles - particles.mean(dim=0)) @ whitening.T)
    steeper = terms.sum(dim=0) / (asked - 1)
    terms = (terms - terms.mean(dim=0)) * (asked / (asked - 2))
    noise, misfit = terms.square().sum().item() / (asked * (asked - 1)), estimated_misfit(steeper, terms)
    shrink = misfit / (misfit + noise) if noise > 0 else 1.0
    variance = (terms @ whitening).square().sum(dim=0) / (asked * (asked - 1))
    return Estimate(model.slope, (shrink * variance + (shrink * (steeper @ whitening)).square()).sqrt())
