"""The tangent spaces of a comparison's alignment: those of a VAE if there is one, else those of particles."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from freemcg.diffusion.denoiser import Denoiser
from freemcg.diffusion.particles import draw_particles
from freemcg.identity.network import identity
from freemcg.messages.errors import InvalidValue
from freemcg.models.architectures import ConvVAE
from manifolds import TangentSpace, decoder_tangent_space, ensemble_tangent_space

EXPLAINED = 0.9  # share of the particles' variance that their tangent space holds


class Tangents(Protocol):
    """A map from images to tangent spaces, with the words for a table."""

    name: str
    description: str

    @property
    def identity(self) -> str:
        """The identity that results record."""

    def __call__(self, images: Tensor) -> list[TangentSpace]:
        """One tangent space for each of `(N, C, H, W)`."""

    def check(self, images: Tensor) -> None:
        """Refuse images that do not fit."""


class VaeTangents:
    """The decoder's Jacobian at the reconstruction of an image: exact there, and approximate for the image itself."""

    name = "VAE"
    description = "tangent space of the VAE at its reconstruction of the image, which is approximate for the image"

    def __init__(self, vae: ConvVAE) -> None:
        self.vae = vae

    @property
    def identity(self) -> str:
        """The identity of the VAE."""
        return identity(self.vae)

    def __call__(self, images: Tensor) -> list[TangentSpace]:
        """See `Tangents`."""
        with torch.no_grad():
            latents = self.vae.encode(images)
        return decoder_tangent_space(self.vae.decode, latents)

    def check(self, images: Tensor) -> None:
        """Refuse images that the VAE does not take.

        Raises:
            ValueError: their channels or size are not the VAE's.
        """
        try:
            with torch.no_grad():
                made = self.vae(images).shape
        except RuntimeError:
            made = None
        if made != images.shape:
            shape = "x".join(str(size) for size in images.shape[1:])
            raise InvalidValue(f"the VAE does not take images of {shape}; name one of such images, or none")


class EnsembleTangents:
    """The leading principal directions of particles around the image, with 90 % of their variance (our choice).

    FreeMCG explains with other particles, but from the same denoiser at the same noise level. That favours FreeMCG.
    """

    name = "ensemble"
    description = "tangent space of an ensemble of the denoiser's particles, which favours freemcg"

    def __init__(self, denoiser: Denoiser, *, particles: int, noise: float, seed: int) -> None:
        self.denoiser, self.particles, self.noise, self.seed = denoiser, particles, noise, seed
        self._last: tuple[Tensor, TangentSpace] | None = None

    @property
    def identity(self) -> str:
        """The settings of the particles. The denoiser is recorded elsewhere."""
        return f"{self.particles} particles at noise {self.noise}, {EXPLAINED} of their variance"

    def __call__(self, images: Tensor) -> list[TangentSpace]:
        """See `Tangents`. The tangent space of the last image is kept."""
        return [self._one(image) for image in images]

    def check(self, images: Tensor) -> None:
        """Refuse images that the denoiser does not take."""
        self.denoiser.check_size(images)

    def _one(self, image: Tensor) -> TangentSpace:
        if self._last is None or not torch.equal(self._last[0], image):
            t = self.denoiser.timestep(self.noise)
            particles = draw_particles(self.denoiser, image, t, self.particles, seed=self.seed + 1)
            self._last = image, ensemble_tangent_space(particles, explained=EXPLAINED)
        return self._last[1]
