"""How realistic an image is to a diffusion model: the model's error in denoising it."""

from __future__ import annotations

import torch
from torch import Tensor

from freemcg.diffusion.denoiser import Denoiser
from freemcg.diffusion.noise import particle_noise

NOISE_LEVELS = (0.1, 0.2, 0.3, 0.4)
DRAWS = 8


def denoising_error(denoiser: Denoiser, images: Tensor, *, seed: int = 0) -> Tensor:
    """`mean_{t, eps} |eps - eps_theta(x_t, t)|^2 / D` of images `(N, C, H, W)`, as `(N,)`.

    Every image gets the same 4 noise levels and the same 8 draws of noise at each, so two images can be compared. The
    error is near 0 if the denoiser restores an image exactly, and 1 if it learns nothing from `x_t`. An image costs 32
    denoisings and no query. A latent model denoises the image's latent, so what that lacks does not count.
    """
    total = torch.zeros(len(images), device=images.device)
    points = denoiser.encode(images)
    for level in NOISE_LEVELS:
        t = denoiser.timestep(level)
        noise = particle_noise(seed, "realism", t, DRAWS, tuple(points.shape[1:])).to(points)
        for index, point in enumerate(points):
            x_t = denoiser.add_noise(point, t, noise)
            missed = noise - denoiser.separate(x_t, t)[1]
            total[index] += missed.square().mean()
    return total / len(NOISE_LEVELS)
