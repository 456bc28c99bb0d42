"""The gradient (Simonyan, Vedaldi, Zisserman 2014) and the gradient times the input (Shrikumar et al. 2016)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from baselines.whitebox import WhiteBoxMethod


class Gradient(WhiteBoxMethod):
    """`grad f(x)`, signed. Costs one gradient an image."""

    cost = "1"

    @classmethod
    def within(cls, cost: int) -> dict[str, Any]:
        """See `WhiteBoxMethod.within`."""
        return {}

    def _attribute(self, images: Tensor, targets: Tensor) -> Tensor:
        return self.gradient(images, targets)


class InputXGradient(WhiteBoxMethod):
    """`x * grad f(x)`. Costs one gradient an image."""

    cost = "1"

    @classmethod
    def within(cls, cost: int) -> dict[str, Any]:
        """See `WhiteBoxMethod.within`."""
        return {}

    def _attribute(self, images: Tensor, targets: Tensor) -> Tensor:
        return images * self.gradient(images, targets)
