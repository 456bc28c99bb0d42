"""Adversarial Gradient Integration (Pan, Li, Zhu 2021, arXiv:2105.11413)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from baselines.path import Gradient
from baselines.path_method import PathMethod
from freemcg.messages.errors import InvalidValue

ASCENT_STEPS = 15  # the authors' value


class AdversarialGradientIntegration(PathMethod):
    """The gradient integrated along the ascent to other classes, which stand in for base-points.

    For a class `c` the path is `x_0 = x`, `x_{t+1} = clip(x_t + step_size * sign grad f_c(x_t), 0, 1)`. It ends when
    the decision is `c` or the steps are done. Each step adds `-grad f_y(x_t) (x_{t+1} - x_t)`. The map is the sum over
    the classes. Its own sum is about `f_y(x) - f_y(x_T)`, added up over the classes. Each step continues from the last,
    as the paper defines it. The authors' program steps from `x` each time, so nothing accumulates.

    Args:
        classes: the number of other classes, evenly spaced by index; all of them if there are fewer.
        steps: the most steps to a class.
        step_size: the length of a step, in pixel values.
        output: as `WhiteBoxMethod`, for both `f_c` and `f_y`; the authors take the probability.
        model, batch_size, progress: as `WhiteBoxMethod`.

    `cost` is the upper bound: it holds if no class is reached early. Each step also costs a forward pass.
    """

    cost = "2 * steps * classes"
    least = 2
    rule = "right"
    sums_over_paths = True

    @classmethod
    def within(cls, cost: int) -> dict[str, Any]:
        """As many classes as full ascents can be paid for, at most 15 of each as in the authors' program."""
        classes = max(1, min(cost // (2 * ASCENT_STEPS), 15))
        return {"classes": classes, "steps": min(ASCENT_STEPS, cost // (2 * classes))}

    def __init__(
        self,
        model: nn.Module,
        *,
        classes: int = 15,
        steps: int = ASCENT_STEPS,
        step_size: float = 0.05,
        output: str = "probability",
        batch_size: int = 64,
        progress: bool = False,
    ) -> None:
        super().__init__(model, output=output, batch_size=batch_size, progress=progress)
        if classes < 1:
            raise InvalidValue(f"classes must be >= 1, got {classes}")
        if steps < 1:
            raise InvalidValue(f"steps must be >= 1, got {steps}")
        if step_size <= 0:
            raise InvalidValue(f"step_size must be > 0, got {step_size}")
        self.classes = classes
        self.steps = steps
        self.step_size = step_size

    def paths(self, images: Tensor, targets: Tensor, gradient: Gradient) -> Iterable[Iterable[Tensor]]:
        """One path a class, from the image of that class to the image explained."""
        others = self.scores(images[:1]).shape[1] - 1
        count = min(self.classes, others)
        for number in range(count):
            wanted = torch.full_like(targets, number * others // count)
            yield list(self._ascent(images, wanted + (wanted >= targets)))[::-1]

    def _ascent(self, images: Tensor, wanted: Tensor) -> Iterator[Tensor]:
        """The images and at least one point after them, on the path to the classes `wanted` `(B,)`."""
        yield images
        for step in range(self.steps):
            arrived = (self.scores(images).argmax(dim=1) == wanted)[:, None, None, None]
            if step > 0 and arrived.all():
                return
            ascent = self.step_size * self.gradient(images, wanted).sign()
            images = torch.where(arrived, images, (images + ascent).clamp(0, 1))
            yield images
