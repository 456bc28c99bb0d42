"""The space in which a diffusion model works: pixels, or the latents of an autoencoder.

A point of that space stands for an image. Particles are points, and so is what a search moves. The estimator and the
searches know no more of a model's space than `Space` says.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from freemcg.diffusion.batches import in_batches
from freemcg.diffusion.network import read_config
from freemcg.identity.mode import refuse_training
from freemcg.identity.network import identity
from freemcg.messages.errors import InvalidValue

GREY_LEVELS = 5 / 255
"""A change of a pixel in [0, 1] that the pull to the input takes for rounding."""


CALLED = ("autoencoder of the denoiser", "denoiser.space.autoencoder")


class Space(ABC):
    """How images become points, and points images.

    Attributes:
        of_pixels: whether points are images.
        small: a change of a point that the pull to the input takes for rounding.
    """

    of_pixels: bool
    small: float

    @property
    def identity(self) -> str | None:
        """What a result records of the space; `None` if there is nothing to tell."""
        return None

    @abstractmethod
    def encode(self, images: Tensor, batch_size: int) -> Tensor:
        """The points of images `(N, C, H, W)` in [0, 1]. It costs one pass of the encoder an image, if there is one."""

    @abstractmethod
    def decode(self, points: Tensor, batch_size: int) -> Tensor:
        """The images `(N, C, H, W)` in [0, 1] of points, differentiable where they are not clipped.

        It costs one pass of the decoder an image, if there is one.
        """

    @abstractmethod
    def image_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape `(C, H, W)` of the image that a point of some shape stands for."""

    @abstractmethod
    def to_model(self, points: Tensor) -> Tensor:
        """Points as the network's `x_0`."""

    @abstractmethod
    def from_model(self, clean: Tensor) -> Tensor:
        """The points of the network's `x_0`, wherever they lie."""

    @abstractmethod
    def within(self, points: Tensor) -> Tensor:
        """The nearest points that can stand for images."""


class Pixels(Space):
    """Points are images in [0, 1]. The network's images are in [-1, 1]."""

    of_pixels = True
    small = GREY_LEVELS

    def encode(self, images: Tensor, batch_size: int) -> Tensor:
        """The images themselves."""
        return images

    def decode(self, points: Tensor, batch_size: int) -> Tensor:
        """The points themselves."""
        return points

    def image_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The point's own shape."""
        return shape

    def to_model(self, points: Tensor) -> Tensor:
        """`2 y - 1`."""
        return 2 * points - 1

    def from_model(self, clean: Tensor) -> Tensor:
        """`(x + 1) / 2`, not clipped."""
        return clean / 2 + 0.5

    def within(self, points: Tensor) -> Tensor:
        """The points, clipped to [0, 1]."""
        return points.clamp(0, 1)


class Latents(Space):
    """Points are the latents of an autoencoder, as the network takes them (Rombach et al. 2022).

    An image `x` in [-1, 1] has the point `s (E(x) - m)`, with the autoencoder's `scaling_factor` `s` and its
    `shift_factor` `m`, 0 if there is none. Where the encoder answers a distribution, `E(x)` is its mean and not a draw.
    A point `z` is decoded as `D(z / s + m)`. A `VQModel` takes the nearest entry of its codebook there.

    Args:
        autoencoder: a `diffusers.AutoencoderKL` or `VQModel`.

    Attributes:
        channels: those of the images.
        latent_channels: those of the points.
        factor: how many pixels a side of a point's pixel stands for.

    Raises:
        ValueError: the autoencoder's images have other channels than it takes, or its scale is not positive.
    """

    of_pixels = False
    small = 2 * GREY_LEVELS  # points have about unit variance, and images in [-1, 1] a deviation near 0.5

    def __init__(self, autoencoder: nn.Module) -> None:
        self.autoencoder: Any = autoencoder
        self.channels: int = read_config(autoencoder, "in_channels", 3)
        made = read_config(autoencoder, "out_channels", self.channels)
        if made != self.channels:
            raise InvalidValue(
                f"the autoencoder takes {self.channels} channels and makes {made}; they must be the same"
            )
        self.latent_channels: int = read_config(autoencoder, "vq_embed_dim", None) or read_config(
            autoencoder, "latent_channels", None
        )
        self.factor: int = 2 ** (len(read_config(autoencoder, "block_out_channels", (1,))) - 1)
        self.scale = float(read_config(autoencoder, "scaling_factor", None) or 1)
        self.shift = float(read_config(autoencoder, "shift_factor", None) or 0)
        if self.scale <= 0:
            raise InvalidValue(f"scaling_factor of the autoencoder must be > 0, got {self.scale:g}")

    @property
    def identity(self) -> str:
        """The autoencoder's identity, its scale and its shift."""
        return f"{identity(self.autoencoder)}:{self.scale:g}:{self.shift:g}"

    def images_of(self, channels: int | None, size: tuple[int, int] | None) -> tuple[int, tuple[int, int] | None]:
        """The channels and the size of images, from those of the latents that a network was made for.

        Raises:
            ValueError: the latents have other channels.
        """
        if channels not in (None, self.latent_channels):
            raise InvalidValue(
                f"the network takes {channels} channels, but latents of the autoencoder have {self.latent_channels}; "
                "take a diffusion model that needs nothing beside the latents"
            )
        return self.channels, None if size is None else (self.factor * size[0], self.factor * size[1])

    @torch.no_grad()
    def encode(self, images: Tensor, batch_size: int) -> Tensor:
        """`s (E(2 y - 1) - m)` of images `y`, `(N, c, H / factor, W / factor)`."""
        refuse_training(self.autoencoder, *CALLED)

        def encoded(x: Tensor) -> Tensor:
            return self._checked(_mean(self.autoencoder.encode(self._in(x))), x)

        return self.scale * (in_batches(encoded, 2 * images - 1, self._rows(batch_size))[0] - self.shift)

    def decode(self, points: Tensor, batch_size: int) -> Tensor:
        """`D(z / s + m)` of points `z`, as images clipped to [0, 1]."""
        refuse_training(self.autoencoder, *CALLED)

        def decoded(z: Tensor) -> Tensor:
            return (self._checked(self.autoencoder.decode(self._in(z)).sample, z) / 2 + 0.5).clamp(0, 1)

        return in_batches(decoded, points / self.scale + self.shift, self._rows(batch_size))[0]

    def image_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """`(channels, factor h, factor w)` for a point of `(c, h, w)`."""
        return self.channels, *(self.factor * side for side in shape[1:])

    def to_model(self, points: Tensor) -> Tensor:
        """The points themselves."""
        return points

    def from_model(self, clean: Tensor) -> Tensor:
        """The network's `x_0` itself."""
        return clean

    def within(self, points: Tensor) -> Tensor:
        """The points themselves, since every latent is decoded to an image."""
        return points

    def _rows(self, batch_size: int) -> int:
        """The images in one call. They hold as many pixels as `batch_size` points, since a pass over images is dear."""
        return max(1, batch_size // (self.factor * self.factor))

    def _in(self, x: Tensor) -> Tensor:
        first = next(self.autoencoder.parameters())
        return x.to(first.device, first.dtype).contiguous(memory_format=torch.channels_last)

    def _checked(self, answer: Tensor, like: Tensor) -> Tensor:
        if not answer.isfinite().all():
            raise InvalidValue("the autoencoder of the denoiser answered NaN or infinity; try it in float32")
        return answer.to(like.device, like.dtype)


def _mean(encoded: Any) -> Tensor:
    """What an encoder says: the mean of its distribution, or its one answer."""
    distribution = getattr(encoded, "latent_dist", None)
    mean: Tensor = encoded.latents if distribution is None else distribution.mean
    return mean
