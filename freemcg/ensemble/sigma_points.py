"""Few questions, well placed: pairs of query points along the principal axes of many unpaid particles.

As in the unscented Kalman filter (Julier, Uhlmann 1997), but only along the leading axes, where the score can change
most.
"""

from __future__ import annotations

import torch
from torch import Tensor

from freemcg.ensemble.estimate import Estimate
from freemcg.ensemble.principal_axes import PrincipalAxes


def sigma_points(axes: PrincipalAxes, pairs: int, *, reach: float = 1.5) -> Tensor:
    """The points `xb + c sqrt(lam_i) u_i`, then `xb - c sqrt(lam_i) u_i`, for the leading `pairs` axes, as `(2 h, D)`.

    `h` is `pairs`, or the number of axes where there are fewer. `reach` is `c`, in standard deviations of the manifold.
    """
    steps = reach * axes.variances[:pairs].sqrt()[:, None] * axes.directions[:pairs]
    return torch.cat([axes.mean + steps, axes.mean - steps])


def axis_slopes(axes: PrincipalAxes, points: Tensor, values: Tensor) -> Tensor:
    """`dj_i`: how `values` `(2 h,)` rise between the `points` `(2 h, D)` of a pair, over their distance along the axis.

    0 where a pair was clipped to one point. As `(h,)`.
    """
    pairs = len(points) // 2
    spans = ((points[:pairs] - points[pairs:]) * axes.directions[:pairs]).sum(dim=1)
    return torch.where(spans > 0, (values[:pairs] - values[pairs:]) / spans.clamp(min=1e-12), 0)


def sigma_point_gradient(axes: PrincipalAxes, points: Tensor, scores: Tensor, weights: Tensor) -> Estimate:
    """`g = U_h (lam_h * dj)` with `dj_i = <y_i+ - y_i-, v> / <p_i+ - p_i-, u_i>`: `C_xx J^T v` on the leading `h` axes.

    Where no point was clipped, for a linear score it is exactly `U_h diag(lam_h) U_h^T A^T v`, and for a quadratic
    one too, since differences are central.

    Args:
        axes: of the particles, all of them.
        points: `(2 h, D)`, from `sigma_points`. Where the caller had to clip them to the range of an image, the
            distance that was left between the two points of a pair, along their axis, is what their scores are
            divided by.
        scores: `(2 h, S)`, the answers at `points`.
        weights: `(S,)`.

    Returns:
        The estimate in units of `score * x`. Its standard error is what the axes not asked about may hold: with
        slopes `dj_i` there of the same size as on the axes that were asked, `sqrt(sum_{i > h} U_i^2 lam_i^2 * mean_{i
        <= h} dj_i^2)`. An axis that was asked has no error, since the answers of a classifier repeat.
    """
    pairs = len(points) // 2
    directions, variances = axes.directions[:pairs], axes.variances[:pairs]
    if pairs == 0:
        return Estimate(torch.zeros_like(axes.mean), torch.full_like(axes.mean, float("inf")))
    slopes = axis_slopes(axes, points, torch.mv(scores, weights))
    tail = axes.variances[pairs:].square() @ axes.directions[pairs:].square()
    return Estimate((variances * slopes) @ directions, (tail * slopes.square().mean()).sqrt())
