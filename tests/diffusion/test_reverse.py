from __future__ import annotations

import re
from itertools import pairwise

import diffusers
import pytest
import torch
from torch import nn

from freemcg import Denoiser
from freemcg.diffusion.noise import particle_noise
from freemcg.diffusion.reverse import reverse_schedule, reverse_step, scaled_like

SHAPE = (3, 1, 4, 5)


def denoiser_of(**settings):
    """A denoiser. The tests use only its schedule."""
    return Denoiser(nn.Identity(), diffusers.DDPMScheduler(**settings))


@pytest.fixture
def batch(rng):
    """Images in [0, 1] and noise, float64."""
    images = torch.rand(SHAPE, generator=rng, dtype=torch.float64)
    return images, torch.randn(SHAPE, generator=rng, dtype=torch.float64)


# --- the schedule ---


@pytest.mark.parametrize("strength", [0.1, 0.37, 0.5, 1.0])
def test_the_schedule_falls_evenly_from_the_strength_to_the_last_step(strength):
    denoiser = denoiser_of(num_train_timesteps=60)
    start = denoiser.timestep(strength)
    for steps in range(1, start + 1):
        schedule = reverse_schedule(denoiser, strength, steps)
        assert len(schedule) == steps
        assert schedule[0] == start
        ends = [*schedule, 0]
        gaps = [before - after for before, after in pairwise(ends)]
        assert min(gaps) >= 1
        assert all(abs(gap - start / steps) <= 1 for gap in gaps)
    assert reverse_schedule(denoiser, strength, start) == list(range(start, 0, -1))


def test_the_papers_schedule():
    assert reverse_schedule(denoiser_of(), 0.4, 100) == list(range(400, 0, -4))


def test_more_steps_than_timesteps_are_refused():
    message = "steps must be <= 20, the timesteps below strength 0.4, got 21"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        reverse_schedule(denoiser_of(num_train_timesteps=50), 0.4, 21)


# --- one step ---


@pytest.mark.parametrize(("t", "t_next"), [(999, 500), (400, 396), (20, 1), (5, 0)])
def test_without_fresh_noise_a_clean_image_stays_on_its_trajectory(t, t_next, batch):
    images, noise = batch
    denoiser = denoiser_of()
    stepped = reverse_step(denoiser, images, noise, torch.zeros(SHAPE), t, t_next, eta=0, seed=1, step=2)
    torch.testing.assert_close(stepped, denoiser.add_noise(images, t_next, noise))


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("t", "t_next"), [(999, 500), (400, 396), (20, 1)])
def test_a_step_is_made_of_image_fresh_noise_noise_and_push(t, t_next, eta, batch, rng):
    images, noise = batch
    push = torch.randn(SHAPE, generator=rng, dtype=torch.float64)
    denoiser = denoiser_of()
    a, b = denoiser.alphas_cumprod[t].item(), denoiser.alphas_cumprod[t_next].item()
    fresh = particle_noise(7, "reverse", 4, 3, SHAPE[1:]).double()
    c1 = eta * ((1 - b) / (1 - a) * (1 - a / b)) ** 0.5
    c2 = (1 - b - c1**2) ** 0.5
    expected = b**0.5 * (2 * images - 1) + c1 * fresh + c2 * noise + (a * b) ** 0.5 * push
    stepped = reverse_step(denoiser, images, noise, push, t, t_next, eta=eta, seed=7, step=4)
    torch.testing.assert_close(stepped, expected)


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
def test_a_step_is_the_one_diffusers_takes(eta, batch):
    """Without a push it equals `DDIMScheduler.step` from the same noisy image, noise and fresh noise."""
    images, noise = batch
    denoiser = denoiser_of()
    scheduler = diffusers.DDIMScheduler(clip_sample=False)
    scheduler.set_timesteps(50)
    x_t = denoiser.add_noise(images, 400, noise)
    fresh = particle_noise(3, "reverse", 6, 3, SHAPE[1:]).double()
    expected = scheduler.step(noise, 400, x_t, eta=eta, variance_noise=fresh).prev_sample
    stepped = reverse_step(denoiser, images, noise, torch.zeros(SHAPE), 400, 380, eta=eta, seed=3, step=6)
    torch.testing.assert_close(stepped, expected, rtol=1e-5, atol=1e-5)


def test_fresh_noise_of_a_full_step_has_the_variance_of_ddpm(batch):
    images, _ = batch
    scheduler = diffusers.DDPMScheduler(variance_type="fixed_small")
    denoiser, zero = denoiser_of(), torch.zeros(SHAPE).double()
    stepped = reverse_step(denoiser, images, zero, zero, 300, 299, eta=1, seed=0, step=0)
    added = stepped - denoiser.add_noise(images, 299, zero)
    fresh = particle_noise(0, "reverse", 0, 3, SHAPE[1:]).double()
    torch.testing.assert_close(added, scheduler._get_variance(300).double().sqrt() * fresh, rtol=1e-4, atol=0)


def test_fresh_noise_differs_between_steps_and_seeds(batch):
    images, noise = batch
    denoiser, zero = denoiser_of(), torch.zeros(SHAPE)
    answers = [
        reverse_step(denoiser, images, noise, zero, 400, 380, eta=1, seed=seed, step=step)
        for seed, step in [(0, 0), (0, 1), (1, 0)]
    ]
    assert not any(torch.isclose(answers[0], other).any() for other in answers[1:])


# --- the size of pushes ---


@pytest.mark.parametrize("rows", [1, 3])
def test_a_push_is_scaled_to_a_share_of_each_particles_noise(rows, batch, rng):
    _, noise = batch
    noise = noise * torch.tensor([0.1, 1.0, 30.0]).reshape(3, 1, 1, 1)
    direction = 1e-3 * torch.randn(rows, *SHAPE[1:], generator=rng, dtype=torch.float64)
    scaled = scaled_like(direction, noise, 0.2)
    for k in range(3):
        along = direction[k % rows] / direction[k % rows].square().sum().sqrt()
        torch.testing.assert_close(scaled[k], 0.2 * noise[k].square().sum().sqrt() * along)


@pytest.mark.parametrize("size", [1e-40, 1e-30, 1e-14, 1.0, 1e14, 1e30])
def test_a_push_has_its_size_however_small_or_large_the_direction_is(size):
    direction = torch.full((2, 1, 2, 2), size)
    direction[1] *= -0.5
    expected = 0.2 * torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1).expand(2, 1, 2, 2)
    torch.testing.assert_close(scaled_like(direction, torch.ones(2, 1, 2, 2), 0.2), expected, rtol=1e-4, atol=0)


def test_no_direction_is_no_push(batch):
    assert scaled_like(torch.zeros(SHAPE), batch[1], 0.2).abs().max() == 0
