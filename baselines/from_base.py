"""What path methods that begin at a base-point share: the settings, and an average over random draws."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable

from torch import Tensor, nn

from baselines.base_points import BasePoint, as_base_point
from baselines.path import Gradient
from baselines.path_method import PathMethod
from freemcg.messages.errors import InvalidValue


class FromBasePoint(PathMethod):
    """A path method that goes from a base-point to the image.

    Args:
        base: where the path begins: a brightness in [0, 1] (0 is black), a name (`black`, `white`, `mean`, `uniform`,
            `gaussian`, `blur`, `max_distance`), or one of `baselines.base_points`.
        steps: pieces of the path.
        n_base: the number of draws of a random base-point. The map is their average.
        model, output, batch_size, progress: as `WhiteBoxMethod`.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        base: float | str | BasePoint,
        steps: int,
        n_base: int,
        output: str,
        batch_size: int,
        progress: bool,
    ) -> None:
        super().__init__(model, output=output, batch_size=batch_size, progress=progress)
        if steps < 1:
            raise InvalidValue(f"steps must be >= 1, got {steps}")
        self.base = as_base_point(base)
        if n_base < 1:
            raise InvalidValue(f"n_base must be >= 1, got {n_base}")
        if n_base > 1 and not self.base.random:
            raise InvalidValue(f"n_base is {n_base} but the base-point {base!r} is not random; use n_base=1")
        self.steps = steps
        self.n_base = n_base

    def paths(self, images: Tensor, targets: Tensor, gradient: Gradient) -> Iterable[Iterable[Tensor]]:
        """One path for each draw of the base-point; see `PathMethod`."""
        return (self._path(self.base(images, draw), images, gradient) for draw in range(self.n_base))

    @abstractmethod
    def _path(self, start: Tensor, images: Tensor, gradient: Gradient) -> Iterable[Tensor]:
        """The points from `start` to the images."""

    def _check(self, images: Tensor) -> None:
        self.base(images[:1], 0)
