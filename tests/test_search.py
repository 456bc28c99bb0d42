"""Parts of the counterfactual search on Gaussian images, where each has a closed form."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import DDPMScheduler

from freemcg import BlackBox, Denoiser, SharedSearch
from freemcg.estimator import manifold_gradient
from freemcg.objective import log_odds
from freemcg.search import POLISH_DRAWS, polish, predicted_values, shared_search

SHAPE = (1, 4, 4)
VARIANCES = torch.cat([torch.full((5,), 0.04), torch.full((11,), 1e-6)]).double()  # pixels 0..4 are the manifold


@pytest.fixture
def denoiser(gaussian_network) -> Denoiser:
    scheduler = DDPMScheduler()
    network = gaussian_network(torch.zeros(SHAPE, dtype=torch.double), torch.diag(VARIANCES), scheduler)
    return Denoiser(network.float(), scheduler)


@pytest.fixture
def black_box() -> BlackBox:
    """Two classes whose log-odds are linear in the pixels."""
    slope = torch.linspace(-3, 4, 16)
    return BlackBox(lambda x: torch.stack([(x - 0.5).flatten(1) @ slope, torch.zeros(len(x))], dim=1))


def test_polish_keeps_the_manifold_and_takes_away_what_lies_off_it(denoiser):
    """Of a deviation u of a pixel of variance s^2 remains abar s^2 u / (abar s^2 + 1 - abar), and some fresh noise."""
    t = denoiser.timestep(0.08)
    abar = denoiser.alphas_cumprod[t].item()
    kept = (abar * VARIANCES / (abar * VARIANCES + 1 - abar)).float().reshape(SHAPE)
    images = 0.5 + torch.stack([torch.full(SHAPE, 0.1), torch.full(SHAPE, -0.05)])
    first, second = polish(denoiser, images, 0.08, seed=0)
    torch.testing.assert_close(first - second, kept * 0.15, rtol=1e-4, atol=1e-6)  # both meet the same noise
    noise = ((1 - abar) / abar) ** 0.5 / 2 * kept / math.sqrt(POLISH_DRAWS)
    assert ((first - 0.5 - kept * 0.1).abs() < 4 * noise + 1e-6).all()


def test_predicted_values_are_exact_for_a_linear_score(denoiser, black_box, rng):
    image = torch.full(SHAPE, 0.5)
    local = manifold_gradient(
        black_box, denoiser, image, denoiser.timestep(0.3), 0, log_odds,
        estimate="sigma_points", particles=64, queries=32, seed=0,
    )  # fmt: skip
    others = local.center + 0.05 * torch.randn(6, *SHAPE, generator=rng) * (VARIANCES > 1e-3).float().reshape(SHAPE)
    torch.testing.assert_close(predicted_values(local, others), log_odds(black_box(others), 0), rtol=1e-3, atol=1e-3)


def test_a_particle_predicted_to_have_arrived_is_not_guided(denoiser, black_box):
    image = torch.full(SHAPE, 0.5)

    def found(**settings) -> torch.Tensor:
        search = SharedSearch(particles=3, steps=6, queries=4, unpaid=16, **settings)
        return shared_search(black_box, denoiser, image, 0, log_odds, search, seed=0).images

    unguided = found(guidance=0.0)
    torch.testing.assert_close(found(stop=-1e9), unguided)
    guided = found(stop=1e9)
    assert (log_odds(black_box(guided), 0) > log_odds(black_box(unguided), 0) + 0.1).all()
