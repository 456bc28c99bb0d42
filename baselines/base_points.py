"""Where a path begins: the image that stands for "nothing to see" (Sturmfels, Lundberg, Lee, Distill 2020).

A base-point is called with images `(N, C, H, W)` in [0, 1] and the number of a draw, and returns images of that shape.
A random one draws the same numbers for every image, so an image's base-point does not depend on its neighbours. Another
draw number gives other random numbers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from baselines.names import unknown
from freemcg.blackbox import check_images
from freemcg.diffusion.noise import generator_for
from freemcg.evaluation.blur import gaussian_blur
from freemcg.messages.errors import InvalidType, InvalidValue


class BasePoint(ABC):
    """A kind of base-point. `random` says whether another draw gives another base-point."""

    random: ClassVar[bool] = False

    def __call__(self, images: Tensor, draw: int = 0) -> Tensor:
        """The base-points of images `(N, C, H, W)` in [0, 1], of the same shape, for the draw number `draw`."""
        return self._draw(images, draw)

    @abstractmethod
    def _draw(self, images: Tensor, draw: int) -> Tensor: ...


@dataclass(frozen=True)
class Constant(BasePoint):
    """One brightness everywhere, in [0, 1]: 0 is black, 1 is white."""

    brightness: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.brightness <= 1:
            raise InvalidValue(f"base must be in [0, 1], got {self.brightness}")

    def _draw(self, images: Tensor, draw: int) -> Tensor:
        return torch.full_like(images, self.brightness)


@dataclass(frozen=True)
class ImageMean(BasePoint):
    """The mean colour of the image itself, everywhere."""

    def _draw(self, images: Tensor, draw: int) -> Tensor:
        return images.mean(dim=(2, 3), keepdim=True).expand_as(images)


@dataclass(frozen=True)
class Uniform(BasePoint):
    """Every number uniform in [low, high]."""

    low: float = 0.0
    high: float = 1.0
    seed: int = 0
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 1:
            raise InvalidValue(f"low and high must be 0 <= low < high <= 1, got {self.low} and {self.high}")

    def _draw(self, images: Tensor, draw: int) -> Tensor:
        numbers = torch.rand(images.shape[1:], generator=generator_for(self.seed, "uniform base-point", draw))
        return (self.low + (self.high - self.low) * numbers).to(images).expand_as(images)


@dataclass(frozen=True)
class Gaussian(BasePoint):
    """The image under Gaussian noise of standard deviation `sigma`, clipped to [0, 1]. The default is ours."""

    sigma: float = 0.25
    seed: int = 0
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.sigma <= 0:
            raise InvalidValue(f"sigma must be > 0, got {self.sigma}")

    def _draw(self, images: Tensor, draw: int) -> Tensor:
        noise = torch.randn(images.shape[1:], generator=generator_for(self.seed, "gaussian base-point", draw))
        return (images + self.sigma * noise.to(images)).clamp(0, 1)


@dataclass(frozen=True)
class Blurred(BasePoint):
    """The image under a Gaussian blur of `sigma` pixels, mirrored at its edges."""

    sigma: float = 5.0

    def __post_init__(self) -> None:
        if self.sigma <= 0:
            raise InvalidValue(f"sigma must be > 0, got {self.sigma}")

    def _draw(self, images: Tensor, draw: int) -> Tensor:
        return gaussian_blur(images, self.sigma)


@dataclass(frozen=True)
class MaxDistance(BasePoint):
    """The farthest image in [0, 1]: each number is 0 or 1, whichever is farther from the image's."""

    def _draw(self, images: Tensor, draw: int) -> Tensor:
        return (images < 0.5).to(images.dtype)


@dataclass(frozen=True, eq=False)
class FromDataset(BasePoint):
    """Images of a data set `(M, C, H, W)`, in a shuffled order: `M` draws take each image once."""

    images: Tensor
    seed: int = 0
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_images(self.images)

    def _draw(self, images: Tensor, draw: int) -> Tensor:
        if images.shape[1:] != self.images.shape[1:]:
            wanted, got = tuple(self.images.shape[1:]), tuple(images.shape[1:])
            raise InvalidValue(f"the data set's images are {wanted} but the images explained {got}; resize one of them")
        order = torch.randperm(len(self.images), generator=generator_for(self.seed, "data set base-point"))
        return self.images[order[draw % len(order)]].to(images).expand_as(images)


BASE_POINTS: dict[str, BasePoint] = {
    "black": Constant(0.0),
    "white": Constant(1.0),
    "mean": ImageMean(),
    "uniform": Uniform(),
    "gaussian": Gaussian(),
    "blur": Blurred(),
    "max_distance": MaxDistance(),
}


def as_base_point(base: float | str | BasePoint) -> BasePoint:
    """A base-point from a brightness, a name in `BASE_POINTS`, or itself.

    Raises:
        TypeError, ValueError: `base` is none of these.
    """
    if isinstance(base, str):
        if base not in BASE_POINTS:
            raise unknown("base-point", base, BASE_POINTS)
        return BASE_POINTS[base]
    if isinstance(base, int | float):
        return Constant(base)
    if not isinstance(base, BasePoint):
        raise InvalidType(
            f"base must be a brightness, a name or one of baselines.base_points, got {type(base).__name__}"
        )
    return base
