from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler

from freemcg import Denoiser
from freemcg.diffusion.realism import DRAWS, NOISE_LEVELS, denoising_error


def test_denoising_error_of_gaussian_data_is_the_closed_form(gaussian_network):
    """For data N(m, s^2 I) and an image at m + u, the error has a mean square of two known terms.

    It is eps - eps_hat = (1 - k (1 - abar)) eps - k sqrt(abar (1 - abar)) u, with k = 1 / (abar s^2 + 1 - abar).
    """
    scheduler = DDPMScheduler()
    side, variance, away = 24, 0.01, 0.3
    mean = torch.zeros(1, side, side, dtype=torch.double)
    network = gaussian_network(mean, variance * torch.eye(side * side, dtype=torch.double), scheduler)
    denoiser = Denoiser(network.float(), scheduler)
    images = torch.stack([mean.float(), mean.float() + away]) / 2 + 0.5
    wanted = torch.zeros(2)
    for level in NOISE_LEVELS:
        abar = scheduler.alphas_cumprod[denoiser.timestep(level)].item()
        shrink = 1 / (abar * variance + 1 - abar)
        noise = (1 - shrink * (1 - abar)) ** 2
        wanted += torch.tensor([noise, noise + shrink**2 * abar * (1 - abar) * away**2]) / len(NOISE_LEVELS)
    found = denoising_error(denoiser, images)
    assert found[0].item() == pytest.approx(wanted[0].item(), rel=4 / (DRAWS * side**2) ** 0.5)
    assert found[1].item() == pytest.approx(wanted[1].item(), rel=0.02)


def test_images_meet_the_same_noise(gaussian_network, images):
    scheduler = DDPMScheduler()
    mean = torch.zeros(images.shape[1:], dtype=torch.double)
    network = gaussian_network(mean, 0.02 * torch.eye(mean.numel(), dtype=torch.double), scheduler)
    denoiser = Denoiser(network.float(), scheduler)
    together = denoising_error(denoiser, images, seed=4)
    alone = torch.cat([denoising_error(denoiser, image[None], seed=4) for image in images])
    torch.testing.assert_close(together, alone)
