"""Integrated Gradients (Sundararajan, Taly, Yan 2017, arXiv:1703.01365)."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from baselines.base_points import BasePoint
from baselines.from_base import FromBasePoint
from baselines.path import Gradient, straight_line


class IntegratedGradients(FromBasePoint):
    """The gradient integrated along the straight line from a base-point to the image.

    Args:
        base, n_base: as `FromBasePoint`.
        steps: gradients per image and draw, each at the middle of a piece of the line.
        multiply_by_inputs: `False` gives the mean gradient along the line, without the factor `x - base`. Bordt et al.
            2023 measure that form on MNIST. The residual stays that of the complete form.
        model, output, batch_size, progress: as `WhiteBoxMethod`.

    The sum over an image is `f(x) - f(base)`, up to the error of the steps. A pixel equal to the base-point gets 0.
    """

    cost = "steps * n_base"

    def __init__(
        self,
        model: nn.Module,
        *,
        base: float | str | BasePoint = "black",
        steps: int = 50,
        multiply_by_inputs: bool = True,
        n_base: int = 1,
        output: str = "logit",
        batch_size: int = 64,
        progress: bool = False,
    ) -> None:
        super().__init__(
            model, base=base, steps=steps, n_base=n_base, output=output, batch_size=batch_size, progress=progress
        )
        self.multiply_by_inputs = multiply_by_inputs

    def _path(self, start: Tensor, images: Tensor, gradient: Gradient) -> Iterable[Tensor]:
        return straight_line(start, images, self.steps)

    def _value(self, slope: Tensor, credit: Tensor) -> Tensor:
        return credit if self.multiply_by_inputs else slope / self.steps
