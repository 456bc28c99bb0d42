"""Blur Integrated Gradients (Xu, Venugopalan, Sundararajan 2020, arXiv:2004.03383)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from baselines.path import Gradient
from baselines.path_method import PathAttribution, PathMethod
from freemcg.evaluation.blur import gaussian_blur
from freemcg.messages.errors import InvalidValue

FORMS = ("increments", "derivative")
DIFFERENCE = 0.01  # in sigma


class BlurIG(PathMethod):
    """The gradient integrated from a blurred image to the image, as the blur fades.

    The path is `X(s) = G_s * x` with `s` from `max_sigma` down to 0. Pixels beyond the border count as zero, as in the
    authors' code.

    Args:
        max_sigma: the standard deviation of the strongest blur, in pixels.
        steps: pieces of the path, evenly spaced in `s`. Each costs a gradient.
        form: `"increments"` (ours) multiplies the gradient at the middle of each piece with the piece itself. The sum
            is then `f(x) - f(G * x)` up to the error of the steps, and exactly for a linear function. `"derivative"` is
            the authors': the gradient at the less blurred end, times `dX/ds` by a forward difference over 0.01 in `s`,
            times the step in `s`.
        model, output, batch_size, progress: as `WhiteBoxMethod`.
    """

    cost = "steps"

    def __init__(
        self,
        model: nn.Module,
        *,
        max_sigma: float = 50.0,
        steps: int = 100,
        form: str = "increments",
        output: str = "logit",
        batch_size: int = 64,
        progress: bool = False,
    ) -> None:
        super().__init__(model, output=output, batch_size=batch_size, progress=progress)
        if max_sigma <= 0:
            raise InvalidValue(f"max_sigma must be > 0, got {max_sigma}")
        if steps < 1:
            raise InvalidValue(f"steps must be >= 1, got {steps}")
        if form not in FORMS:
            raise InvalidValue(f"form must be one of {', '.join(FORMS)}, got {form!r}")
        self.max_sigma = max_sigma
        self.steps = steps
        self.form = form

    def paths(self, images: Tensor, targets: Tensor, gradient: Gradient) -> Iterable[Iterable[Tensor]]:
        """One path, from the strongest blur to none."""
        sigmas = (self.max_sigma * (1 - step / self.steps) for step in range(self.steps + 1))
        yield (gaussian_blur(images, sigma, border="zero") for sigma in sigmas)

    def _explain(self, images: Tensor, targets: Tensor) -> PathAttribution:
        if self.form == "increments":
            return super()._explain(images, targets)

        def blurred(sigma: float) -> Tensor:
            return gaussian_blur(images, sigma, border="zero")

        values = torch.zeros_like(images)
        for step in range(self.steps):
            sigma = self.max_sigma * step / self.steps
            point = blurred(sigma)
            change = (blurred(sigma + DIFFERENCE) - point) / DIFFERENCE
            values = values - self.max_sigma / self.steps * self.gradient(point, targets) * change
        rise = self.value(images, targets) - self.value(blurred(self.max_sigma), targets)
        return PathAttribution(values, rise - values.flatten(1).sum(dim=1))
