"""What takes the place of removed pixels, on images and denoisers whose answer is known."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler
from plane import SHAPE
from torch import nn

from freemcg import Denoiser
from freemcg.evaluation import Denoised, NoisyLinear, blurred, linear_imputation, mean_colour
from freemcg.evaluation.imputation import WEIGHTS

INSIDE = (slice(None), slice(1, -1), slice(1, -1))


def masks(rng, count, height, width, share=0.6):
    return torch.rand(count, height, width, generator=rng) < share


def solved(image, removed):
    """A second, slow route: the neighbours' means as one dense system for one question and one channel."""
    height, width = image.shape
    matrix, right = torch.eye(height * width, dtype=torch.double), image.double().flatten().clone()
    for pixel in removed.flatten().nonzero().flatten().tolist():
        row, column = divmod(pixel, width)
        near = {
            (row + down, column + across): WEIGHTS[1 + down, 1 + across]
            for down in (-1, 0, 1)
            for across in (-1, 0, 1)
            if (down, across) != (0, 0) and 0 <= row + down < height and 0 <= column + across < width
        }
        for (other_row, other_column), weight in near.items():
            matrix[pixel, other_row * width + other_column] -= weight / sum(near.values())
        right[pixel] = 0
    return torch.linalg.solve(matrix, right).reshape(height, width)


def test_kept_pixels_stay_and_removed_ones_get_the_mean_colour(rng):
    image, removed = torch.rand(3, 5, 4, generator=rng), masks(rng, 6, 5, 4)
    for infill in (mean_colour, blurred, NoisyLinear(), linear_imputation):
        filled = infill(image, removed)
        assert filled.shape == (6, 3, 5, 4)
        kept = ~removed[:, None].expand_as(filled)
        assert torch.equal(filled[kept], image.expand_as(filled)[kept])
    gone = removed[:, None].expand(6, 3, 5, 4)
    colour = image.flatten(1).mean(dim=1)[:, None, None].expand(6, 3, 5, 4)
    torch.testing.assert_close(mean_colour(image, removed)[gone], colour[gone])


def test_a_blur_keeps_the_mean_and_little_else(rng):
    image = torch.rand(3, 8, 12, generator=rng)
    soft = blurred(image, torch.ones(1, 8, 12, dtype=torch.bool))[0]
    torch.testing.assert_close(soft.mean(dim=(1, 2)), image.mean(dim=(1, 2)), rtol=0.02, atol=0)
    assert (soft.std(dim=(1, 2)) < 0.25 * image.std(dim=(1, 2))).all()


def test_linear_imputation_solves_the_means_of_neighbours(rng):
    image, removed = torch.rand(2, 5, 7, generator=rng), masks(rng, 4, 5, 7, share=0.8)
    found = linear_imputation(image, removed)
    for question in range(4):
        for channel in range(2):
            wanted = solved(image[channel], removed[question]).float()
            torch.testing.assert_close(found[question, channel], wanted, rtol=0, atol=1e-6)


def test_linear_imputation_restores_what_is_affine(rng):
    """A mean of neighbours is exact on a plane, where all eight exist."""
    row, column = torch.meshgrid(torch.arange(9.0), torch.arange(8.0), indexing="ij")
    plane = (0.1 + 0.05 * row + 0.03 * column)[None]
    removed = torch.zeros(3, 9, 8, dtype=torch.bool)
    removed[INSIDE] = masks(rng, 3, 7, 6, share=0.9)
    torch.testing.assert_close(linear_imputation(plane, removed), plane.expand(3, 1, 9, 8), rtol=0, atol=1e-6)
    removed[:, 0] = True
    assert (linear_imputation(plane, removed) - plane).abs().max() > 0.02


def test_linear_imputation_of_a_constant_image_of_nothing_and_of_everything(rng):
    flat = torch.full((1, 6, 6), 0.3)
    torch.testing.assert_close(linear_imputation(flat, masks(rng, 5, 6, 6, 0.9)), flat.expand(5, 1, 6, 6))
    image = torch.rand(3, 6, 6, generator=rng)
    nothing, everything = linear_imputation(image, torch.tensor([False, True])[:, None, None].expand(2, 6, 6))
    assert torch.equal(nothing, image)
    torch.testing.assert_close(everything, image.mean(dim=(1, 2), keepdim=True).expand_as(image))


def test_noise_has_the_deviation_that_is_named_and_is_the_same_for_every_question():
    image = torch.full((1, 40, 40), 0.5)
    removed = torch.ones(2, 40, 40, dtype=torch.bool)
    removed[:, 0, 0] = False
    first, second = NoisyLinear(noise=0.05)(image, removed) - image
    assert first[0, 1:].std().item() == pytest.approx(0.05, rel=0.1)
    assert torch.equal(first, second)
    assert not torch.equal(NoisyLinear(noise=0.05, seed=1)(image, removed)[0] - image, first)
    assert NoisyLinear(noise=9.0)(image, removed).max() == 1


def expected_between(mean, covariance, noisy, abar):
    """`E[x_0 | x_t]` of Gaussian data in [-1, 1]."""
    marginal = abar * covariance + (1 - abar) * torch.eye(len(mean), dtype=torch.double)
    return mean + abar**0.5 * covariance @ torch.linalg.solve(marginal, noisy - abar**0.5 * mean)


def test_denoised_pixels_are_what_gaussian_data_expect(gaussian_network):
    """All pixels of the data are equal up to little noise. So one kept pixel tells the others, once it weighs enough.

    With the exact denoiser and many copies the mean of the copies is that of the noiseless composite, since the
    denoiser of Gaussian data is affine.
    """
    scheduler, size = DDPMScheduler(), 16
    covariance = 0.04 * torch.ones(size, size, dtype=torch.double) + 1e-5 * torch.eye(size, dtype=torch.double)
    network = gaussian_network(torch.full(SHAPE, 0.2, dtype=torch.double), covariance, scheduler)
    image = torch.full(SHAPE, 0.5)
    image[0, :2] = 0.7
    removed = torch.zeros(1, *SHAPE[1:], dtype=torch.bool)
    removed[0, 2:] = True
    denoiser = Denoiser(network.float(), scheduler)
    found = Denoised(denoiser, noise=(0.5,), copies=400)(image, removed)[0].double()
    t = denoiser.timestep(0.5)
    abar = scheduler.alphas_cumprod[t].double().item()
    composite = (2 * mean_colour(image, removed)[0].double() - 1).flatten()
    mean = torch.full((size,), 0.2, dtype=torch.double)
    wanted = (expected_between(mean, covariance, abar**0.5 * composite, abar).reshape(SHAPE) + 1) / 2
    wanted[0, :2] = image[0, :2].double()
    torch.testing.assert_close(found, wanted, rtol=0, atol=0.02)
    twice = Denoised(denoiser, noise=(0.5, 0.1), copies=400)(image, removed)[0].double()
    assert (twice[0, 2:] - 0.7).abs().max() < (found[0, 2:] - 0.7).abs().max()


class Counting(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner, self.config, self.passes = inner, inner.config, 0

    def forward(self, x_t, t):
        self.passes += len(x_t)
        return self.inner(x_t, t)


def test_denoised_costs_the_passes_that_it_says_and_repeats(gaussian_network, rng):
    scheduler = DDPMScheduler()
    inner = gaussian_network(torch.zeros(SHAPE, dtype=torch.double), torch.eye(16, dtype=torch.double), scheduler)
    network = Counting(inner.float()).eval()
    infill = Denoised(Denoiser(network, scheduler), noise=(0.6, 0.4, 0.2), copies=5)
    image, removed = torch.rand(SHAPE, generator=rng), masks(rng, 7, *SHAPE[1:])
    found = infill(image, removed)
    assert network.passes == 7 * 5 * 3
    torch.testing.assert_close(infill(image, removed[3:4])[0], found[3])
