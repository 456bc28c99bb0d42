"""What every path method shares: the points of a path, attributions along them, and what the steps left out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from baselines.path import Gradient, pieces, remembering
from baselines.whitebox import Target, WhiteBoxMethod

Scalar = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class PathAttribution:
    """The result of a path method.

    Attributes:
        values: the attributions, of the shape of the images.
        residual: `f(X_N) - f(X_0) - sum(values)`, `(N,)`: what the steps left out. A method that averages over
            base-points averages this too.
    """

    values: Tensor
    residual: Tensor


Answer = TypeVar("Answer", bound=PathAttribution)


class PathMethod(WhiteBoxMethod):
    """A white-box method that adds up gradients along a path to the image."""

    rule: ClassVar[str] = "midpoint"
    sums_over_paths: bool = False  # otherwise the method averages over its paths

    @abstractmethod
    def paths(self, images: Tensor, targets: Tensor, gradient: Gradient) -> Iterable[Iterable[Tensor]]:
        """The paths to follow, each as its points `X_0 .. X_N`, from the base to the images.

        Args:
            images: `(B, C, H, W)`; each point has this shape.
            targets: `(B,)`.
            gradient: the gradient of the scalar explained. A path may choose its next point by the gradient at the
                last one. This costs nothing, since the engine needs the same gradient.
        """

    def explain(self, images: Tensor, target: Target = None) -> PathAttribution:
        """Attribute as `attribute` does, and give the residual too."""
        return joined(self._in_batches(self._explain, images, target))

    def _attribute(self, images: Tensor, targets: Tensor) -> Tensor:
        return self._explain(images, targets).values

    def _explain(self, images: Tensor, targets: Tensor) -> PathAttribution:
        gradient = remembering(lambda points: self.gradient(points, targets))
        return self._along(self.paths(images, targets, gradient), targets, gradient)

    def _along(self, paths: Iterable[Iterable[Tensor]], targets: Tensor, gradient: Gradient) -> PathAttribution:
        """Attributions and residuals along given paths."""
        value = remembering(lambda points: self.value(points, targets))
        values: Tensor | float = 0.0
        residual: Tensor | float = 0.0
        count = 0
        for path in paths:
            start: Tensor | None = None
            for slope, before, after in pieces(path, gradient, rule=self.rule):
                start, end = before if start is None else start, after
                credit = self._credit(slope, before, after, value)
                values = values + self._value(slope, credit)
                residual = residual - credit.flatten(1).sum(dim=1)
            assert start is not None
            residual = residual + value(end) - self.value(start, targets)
            count += 1
        share = 1 if self.sums_over_paths else count
        return PathAttribution(torch.as_tensor(values) / share, torch.as_tensor(residual) / share)

    def _credit(self, slope: Tensor, before: Tensor, after: Tensor, value: Scalar) -> Tensor:
        """What the piece of a path from `before` to `after` contributes to `f(X_N) - f(X_0)`."""
        return slope * (after - before)

    def _value(self, slope: Tensor, credit: Tensor) -> Tensor:
        """What one piece adds to the attributions: its credit, unless a method overrides this."""
        return credit


def joined(parts: list[Answer]) -> Answer:
    """One result from those of several batches. Every field has one row per image."""
    names = [field.name for field in fields(parts[0])]
    return type(parts[0])(*(torch.cat([getattr(part, name) for part in parts]) for name in names))
