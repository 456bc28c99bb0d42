"""Integrated Gradients (Sundararajan, Taly, Yan 2017, arXiv:1703.01365)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from baselines.path import integrate, straight_line
from baselines.whitebox import WhiteBoxMethod


class IntegratedGradients(WhiteBoxMethod):
    """The gradient integrated along the straight line from a base-point to the image.

    Args:
        base: brightness of the constant base-point, in [0, 1]: 0 is black, 1 is white.
        steps: gradients an image, each at the middle of a piece of the line.
        model, output, batch_size: as `WhiteBoxMethod`.

    The sum over an image is `f(x) - f(base)`, but for the error of the steps. A pixel equal to the base-point gets 0.
    """

    def __init__(
        self, model: nn.Module, *, base: float = 0.0, steps: int = 50, output: str = "logit", batch_size: int = 64
    ) -> None:
        super().__init__(model, output=output, batch_size=batch_size)
        if not 0 <= base <= 1:
            raise ValueError(f"base must be in [0, 1], got {base}")
        if steps < 1:
            raise ValueError(f"steps must be >= 1, got {steps}")
        self.base = base
        self.steps = steps

    def _attribute(self, images: Tensor, targets: Tensor) -> Tensor:
        line = straight_line(torch.full_like(images, self.base), images, self.steps)
        return integrate(line, lambda points: self.gradient(points, targets))
