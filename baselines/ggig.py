"""Geometrically Guided Integrated Gradients (Rahman, Lewis, Plis 2022, arXiv:2206.05903)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from baselines.base_points import BasePoint, as_base_point
from baselines.path import straight_line
from baselines.whitebox import WhiteBoxMethod
from freemcg.messages.errors import InvalidValue

COMBINATIONS = ("mean", "max")


LINE_STEPS = 50


class GeometricallyGuidedIG(WhiteBoxMethod):
    """The largest gradients met on short ascents that begin along the straight line from a base-point to the image.

    An ascent of the score begins at each point `X_k = base + k / steps * (x - base)`: it records `g = grad f(X_k)`,
    then sets `X_k += rate * g`, and so on. `M_k` is the elementwise maximum of the recorded gradients, with their
    signs, so it favours what speaks for the class. The map is the mean of `M_k` over the line, or its maximum. Neither
    form is complete. Points are not clipped to [0, 1].

    Args:
        base: the base-point: a brightness, a name, or one of `baselines.base_points`, not random.
        steps: pieces of the line; the ascents begin at its `steps + 1` points.
        iterations: gradients in each ascent. The authors use 100 or 200.
        rate: the rate of the ascent, in squared pixel values per unit of score, so it depends on the model's scale.
        combine: `"mean"`, by trapezoids over the line (`ig` in the authors' program), or `"max"`.
        multiply_by_inputs: whether the map is multiplied by `x - base`. With one iteration and the mean it is then
            Integrated Gradients by trapezoids. The authors' program does not multiply, or multiplies by `x`.
        model, output, batch_size, progress: as `WhiteBoxMethod`.
    """

    cost = "(steps + 1) * iterations"
    least = 2

    @classmethod
    def within(cls, cost: int) -> dict[str, Any]:
        """The line has 50 pieces as by default, or fewer; its ascents get the rest of the cost."""
        steps = min(LINE_STEPS, cost - 1)
        return {"steps": steps, "iterations": cost // (steps + 1)}

    def __init__(
        self,
        model: nn.Module,
        *,
        base: float | str | BasePoint = "black",
        steps: int = LINE_STEPS,
        iterations: int = 100,
        rate: float = 1e-4,
        combine: str = "mean",
        multiply_by_inputs: bool = False,
        output: str = "logit",
        batch_size: int = 64,
        progress: bool = False,
    ) -> None:
        super().__init__(model, output=output, batch_size=batch_size, progress=progress)
        self.base = as_base_point(base)
        if self.base.random:
            raise InvalidValue(f"base must not be random, got {self.base!r}")
        if steps < 1:
            raise InvalidValue(f"steps must be >= 1, got {steps}")
        if iterations < 1:
            raise InvalidValue(f"iterations must be >= 1, got {iterations}")
        if rate < 0:
            raise InvalidValue(f"rate must be >= 0, got {rate}")
        if combine not in COMBINATIONS:
            raise InvalidValue(f"combine must be one of {', '.join(COMBINATIONS)}, got {combine!r}")
        self.steps = steps
        self.iterations = iterations
        self.rate = rate
        self.combine = combine
        self.multiply_by_inputs = multiply_by_inputs

    def _attribute(self, images: Tensor, targets: Tensor) -> Tensor:
        start = self.base(images)
        mean = torch.zeros_like(images)
        largest = torch.full_like(images, -torch.inf)
        for index, point in enumerate(straight_line(start, images, self.steps)):
            found = self._largest(point, targets)
            mean = mean + found / self.steps / (2 if index in (0, self.steps) else 1)
            largest = torch.maximum(largest, found)
        values = mean if self.combine == "mean" else largest
        return values * (images - start) if self.multiply_by_inputs else values

    def _largest(self, points: Tensor, targets: Tensor) -> Tensor:
        """`M_k`: the maximum of the gradients on the ascent."""
        largest = torch.full_like(points, -torch.inf)
        for _ in range(self.iterations):
            slope = self.gradient(points, targets)
            largest = torch.maximum(largest, slope)
            points = points + self.rate * slope
        return largest

    def _check(self, images: Tensor) -> None:
        self.base(images[:1])
