"""Guided Integrated Gradients (Kapishnikov et al. 2021, arXiv:2106.09788)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from baselines.base_points import BasePoint
from baselines.from_base import FromBasePoint
from baselines.path import Gradient
from freemcg.messages.errors import InvalidValue


class GuidedIG(FromBasePoint):
    """The gradient integrated along a path that moves the pixels of the smallest gradient first.

    Every step shortens the L1 distance to the image by the same amount. It adds the gradient at its start times its
    move. The sum over an image is `f(x) - f(base)`, up to an error. If the gradient of `f` is continuous, the error
    falls as one over `steps`. In a network with ReLU the gradient jumps, and the path may run along the jumps. Then the
    gradient at the start of a step does not hold for the rest of it, and more steps need not lower the error.

    Args:
        base, n_base: as `FromBasePoint`.
        steps: steps from the base-point to the image, one gradient each. Each needs the one before, so the steps of an
            image cannot be batched.
        fraction: the share of pixel values that may move at a time, in (0, 1]. Those with the smallest absolute
            gradients move. 1 gives the straight line.
        max_dist: the most that a pixel value may lead or lag the straight line, in [0, 1], as a fraction of its length.
            At 0 the path is the straight line; at 1 there is no bound. The default is that of the authors' code. With
            `anchors`, the bound holds within each part.
        anchors: the number of points of the straight line that the path must pass through. The path then has
            `anchors + 1` parts, with an equal share of the steps each. The paper has anchors and no `max_dist`. The
            authors' code has `max_dist` and no anchors.
        model, output, batch_size, progress: as `WhiteBoxMethod`.
    """

    cost = "steps * n_base"
    rule = "left"

    def __init__(
        self,
        model: nn.Module,
        *,
        base: float | str | BasePoint = "black",
        steps: int = 200,
        fraction: float = 0.25,
        max_dist: float = 0.02,
        anchors: int = 0,
        n_base: int = 1,
        output: str = "logit",
        batch_size: int = 64,
        progress: bool = False,
    ) -> None:
        super().__init__(
            model, base=base, steps=steps, n_base=n_base, output=output, batch_size=batch_size, progress=progress
        )
        if not 0 < fraction <= 1:
            raise InvalidValue(f"fraction must be in (0, 1], got {fraction}")
        if not 0 <= max_dist <= 1:
            raise InvalidValue(f"max_dist must be in [0, 1], got {max_dist}")
        if not 0 <= anchors < steps:
            raise InvalidValue(f"anchors must be >= 0 and < steps ({steps}), got {anchors}")
        self.fraction = fraction
        self.max_dist = max_dist
        self.anchors = anchors

    def _path(self, start: Tensor, images: Tensor, gradient: Gradient) -> Iterable[Tensor]:
        yield start
        parts = self.anchors + 1
        here = start
        for part in range(parts):
            goal = torch.lerp(start, images, (part + 1) / parts)
            steps = (part + 1) * self.steps // parts - part * self.steps // parts
            for point in guided_path(here, goal, gradient, steps=steps, fraction=self.fraction, max_dist=self.max_dist):
                yield point
                here = point


def guided_path(
    start: Tensor, goal: Tensor, gradient: Gradient, *, steps: int, fraction: float, max_dist: float
) -> Iterator[Tensor]:
    """The points after `start` on the guided path to `goal`, both `(B, ...)`; the last is `goal`.

    Each image has its own path. Positions are kept in float64; the gradient is computed in the images' type.
    """
    first, last = start.flatten(1).double(), goal.flatten(1).double()
    length = (last - first).abs().sum(dim=1, keepdim=True)
    point, here = start, first
    for step in range(1, steps + 1):
        slope = gradient(point).flatten(1).double().abs()
        low, high = max(step / steps - max_dist, 0.0), min(step / steps + max_dist, 1.0)
        behind, ahead = torch.lerp(first, last, low), torch.lerp(first, last, high)
        here = torch.where((here - first).abs() < (behind - first).abs(), behind, here)
        here = _advance(here, ahead, last, slope, length * (1 - step / steps), fraction)
        point = goal if step == steps else here.reshape(start.shape).to(start)
        yield point


def _advance(here: Tensor, ahead: Tensor, last: Tensor, slope: Tensor, distance: Tensor, fraction: float) -> Tensor:
    """Move the values of smallest slope towards `ahead`, until the L1 distance to `last` has fallen to `distance`.

    All are `(B, D)`, and `distance` is `(B, 1)`. Values that have arrived stay, and those of next larger slope move.
    """
    place = math.floor(fraction * (here.shape[1] - 1)) + 1  # the quantile, of the kind "lower"
    for _ in range(math.ceil(1 / fraction) + 2):
        surplus = (last - here).abs().sum(dim=1, keepdim=True) - distance
        unfinished = surplus > 1e-9
        if not unfinished.any():
            break
        arrived = (ahead - here).abs() <= 1e-12
        ranked = slope.masked_fill(arrived, torch.inf)
        chosen = (ranked <= ranked.kthvalue(place, dim=1, keepdim=True).values) & ~arrived & unfinished
        reach = torch.where(chosen, (ahead - here).abs(), 0.0).sum(dim=1, keepdim=True)
        share = (surplus / reach).clamp(max=1.0)  # infinite if no value is chosen; then it is not used
        here = torch.where(chosen, torch.lerp(here, ahead, share.where(reach > 0, 0.0)), here)
    return here
