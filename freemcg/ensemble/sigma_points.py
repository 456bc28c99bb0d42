"""Few query points, well placed: the mean of many unpaid particles, and one point along each of their leading axes.

They are those of the unscented Kalman filter (Julier, Uhlmann 1997), with two changes. Only the leading axes get a
point, since the score can change most there. And each axis gets one point instead of a pair, so the same queries cover
twice as many axes. The sides of the mean alternate, so the points stay around it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from freemcg.ensemble.blocks import row_blocks
from freemcg.ensemble.principal_axes import PrincipalAxes


def sigma_points(axes: PrincipalAxes, count: int, *, reach: float = 1.0) -> Tensor:
    """`xb`, then `xb + c sqrt(lam_i) u_i` with the sign of `c` alternating from axis to axis, as `(1 + h, D)`.

    `h` is `count - 1`, or the number of axes if there are fewer. `reach` is `|c|`, in standard deviations of the
    manifold.
    """
    variances, directions = axes.variances[: max(0, count - 1)], axes.directions[: max(0, count - 1)]
    signs = torch.ones_like(variances)
    signs[1::2] = -1
    return torch.cat([axes.mean[None], axes.mean + (reach * signs * variances.sqrt())[:, None] * directions])


@dataclass(frozen=True)
class LinearModel:
    """A linear model of a score around the particles, with `value` at `center` `(D,)` and gradient `slope` `(D,)`."""

    center: Tensor
    value: Tensor
    slope: Tensor

    def __call__(self, points: Tensor) -> Tensor:
        """The score `(N,)` that this model gives points `(N, D)`."""
        return self.value + torch.cat([(some - self.center) @ self.slope for some in row_blocks(points)])


def linear_model(axes: PrincipalAxes, points: Tensor, values: Tensor) -> LinearModel:
    """The linear model through the `values` `(1 + h,)` of the sigma points `(1 + h, D)`: `<grad f, u_i>` on `h` axes.

    For a linear score it is exact along those axes, if no point was clipped. The caller may have clipped points to the
    range of an image. Each difference is therefore divided by the distance that is left along its axis. A point clipped
    to the mean tells nothing, and its axis gets slope 0.
    """
    directions = axes.directions[: len(points) - 1]
    steps = ((points[1:] - points[0]) * directions).sum(dim=1)
    moved = steps.abs() > 1e-6 * axes.variances[: len(steps)].sqrt()
    slopes = torch.where(moved, (values[1:] - values[0]) / torch.where(moved, steps, 1), 0)
    return LinearModel(points[0], values[0], slopes @ directions)
