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

    Every step shortens the L1 distance to the image by the same amount, and adds the gradient at its start times what
    it moved. The sum over an image is `f(x) - f(base)`, but for an error. Where the gradient of `f` is continuous, the
    error falls as one over `steps`. Where it jumps, as in a network with ReLU, the path may run along the jumps, where
    the gradient at the start of a step is not that of the step: the error need not fall with more steps.

    Args:
        base, n_base: as `FromBasePoint`.
        steps: steps from the base-point to the image, one gradient each. They follow one another: none can be batched.
        fraction: in (0, 1], of the pixel values that may move at a time, those of smallest absolute gradient; 1 is the
            straight line.
        max_dist: in [0, 1], how far, as a fraction of the way, a pixel value may run ahead of or lag behind the
            straight line; 0 is the straight line, 1 does not bound it. The default is that of the authors' code; it
            bounds within each part where there are `anchors`.
        anchors: points of the straight line that the path must pass through; it is then a path of `anchors + 1` parts
            with an equal share of the steps each. The paper has anchors and no `max_dist`, the authors' code the
            reverse.
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

    Each image goes its own way. Positions are kept in float64, the gradient is asked in the images' type.
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

    All are `(B, D)`, `distance` is `(B, 1)`. Values that have arrived leave their place to those of next larger slope.
    """
    place = math.floor(fraction * (here.shape[1] - 1)) + 1  # the quantile, of the kind "lower"
    for _ in range(math.ceil(1 / fraction) + 2):
        surplus = (last - here).abs().sum(dim=1, keepdim=True) - distance
        open_ = surplus > 1e-9
        if not open_.any():
            break
        arrived = (ahead - here).abs() <= 1e-12
        ranked = slope.masked_fill(arrived, torch.inf)
        chosen = (ranked <= ranked.kthvalue(place, dim=1, keepdim=True).values) & ~arrived & open_
        reach = torch.where(chosen, (ahead - here).abs(), 0.0).sum(dim=1, keepdim=True)
        share = (surplus / reach).clamp(max=1.0)  # infinite, and then unused, where none is chosen
        here = torch.where(chosen, torch.lerp(here, ahead, share.where(reach > 0, 0.0)), here)
    return here
