"""What takes the place of pixels that are removed from an image: its mean colour, its blur, or what a denoiser expects.

An infill maps an image `(C, H, W)` and the removed pixels `(K, H, W)` of `K` questions to the images of the questions,
`(K, C, H, W)` in [0, 1]. Pixels that are not removed stay as they are. An infill costs no query.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from freemcg.diffusion.denoiser import Denoiser
from freemcg.diffusion.noise import particle_noise
from freemcg.evaluation.blur import gaussian_blur

Infill = Callable[[Tensor, Tensor], Tensor]


def mean_colour(image: Tensor, removed: Tensor) -> Tensor:
    """Removed pixels get the mean colour of the image."""
    return torch.where(removed[:, None], image.mean(dim=(1, 2), keepdim=True), image)


def blurred(image: Tensor, removed: Tensor) -> Tensor:
    """Removed pixels are seen under a Gaussian blur of a quarter of the shorter side, mirrored at the edges."""
    soft = gaussian_blur(image, min(image.shape[1:]) / 4).clamp(0, 1)
    return torch.where(removed[:, None], soft, image)


@dataclass(frozen=True)
class Denoised:
    """Removed pixels get what a diffusion model expects beside those that are kept, so questions stay realistic.

    The removed pixels begin with the mean colour. At each noise level, from the highest down, the whole image is
    noised and denoised `copies` times. The removed pixels get the mean of these copies, and the others are put back,
    as in RePaint (Lugmayr et al. 2022, arXiv:2201.09865). Unlike a blur, this tells nothing about what was removed
    but its mean colour. RePaint draws one sample; the mean is our choice, since it adds no detail by chance.

    Attributes:
        denoiser: the diffusion model. A question costs `copies * len(noise)` of its passes.
        noise: the noise levels, as fractions of its schedule.
        copies: the mean is taken over so many denoised copies.
        seed: the seed of their noise, which is the same for every question.
    """

    denoiser: Denoiser
    noise: tuple[float, ...] = (0.6, 0.3)
    copies: int = 2
    seed: int = 0

    def __call__(self, image: Tensor, removed: Tensor) -> Tensor:
        """See the module."""
        filled = mean_colour(image, removed)
        for step, level in enumerate(self.noise):
            expected = self._expected(filled, self.denoiser.timestep(level), step)
            filled = torch.where(removed[:, None], expected, image)
        return filled

    def _expected(self, images: Tensor, t: int, step: int) -> Tensor:
        """The mean of denoised copies of each of `(K, C, H, W)`."""
        points = self.denoiser.encode(images)
        noise = particle_noise(self.seed, "infill", step, self.copies, tuple(points.shape[1:])).to(points)
        total = torch.zeros_like(images)
        for each in noise:
            noisy = self.denoiser.add_noise(points, t, each.expand_as(points))
            total += self.denoiser.decode(self.denoiser.denoise(noisy, t)).to(total)
        return (total / self.copies).clamp(0, 1)
