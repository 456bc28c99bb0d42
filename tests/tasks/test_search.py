"""Parts of the counterfactual search on Gaussian images. There each part has a closed form."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import DDPMScheduler

from freemcg import BlackBox, Denoiser, SharedSearch
from freemcg.diffusion.noise import particle_noise
from freemcg.diffusion.reverse import Particles
from freemcg.gradient.estimator import Ensemble
from freemcg.gradient.objective import log_odds
from freemcg.tasks.shared_search import POLISH_DRAWS, SharedGradient, polish, shared_search

SHAPE = (1, 4, 4)
VARIANCES = torch.cat([torch.full((5,), 0.04), torch.full((11,), 1e-6)]).double()  # pixels 0..4 are the manifold


@pytest.fixture
def denoiser(gaussian_network) -> Denoiser:
    scheduler = DDPMScheduler()
    network = gaussian_network(torch.zeros(SHAPE, dtype=torch.double), torch.diag(VARIANCES), scheduler)
    return Denoiser(network.float(), scheduler)


@pytest.fixture
def black_box() -> BlackBox:
    """A black box of two classes, whose log-odds are linear in the pixels."""
    slope = torch.linspace(-3, 4, 16)
    return BlackBox(lambda x: torch.stack([(x - 0.5).flatten(1) @ slope, torch.zeros(len(x))], dim=1))


def test_polish_keeps_the_manifold_and_takes_away_what_lies_off_it(denoiser):
    """A deviation u of a pixel of variance s^2 shrinks to abar s^2 u / (abar s^2 + 1 - abar). Some noise is added."""
    t = denoiser.timestep(0.08)
    abar = denoiser.alphas_cumprod[t].item()
    kept = (abar * VARIANCES / (abar * VARIANCES + 1 - abar)).float().reshape(SHAPE)
    images = 0.5 + torch.stack([torch.full(SHAPE, 0.1), torch.full(SHAPE, -0.05)])
    first, second = polish(denoiser, images, images[0], SharedSearch(polish=0.08), seed=0)
    torch.testing.assert_close(first - second, kept * 0.15, rtol=1e-4, atol=1e-6)  # both get the same noise
    noise = ((1 - abar) / abar) ** 0.5 / 2 * kept / math.sqrt(POLISH_DRAWS)
    assert ((first - 0.5 - kept * 0.1).abs() < 4 * noise + 1e-6).all()


def test_the_model_of_the_answers_is_exact_for_a_linear_score(denoiser, black_box, rng):
    image = torch.full(SHAPE, 0.5)
    ensemble = Ensemble(denoiser, image, denoiser.timestep(0.3), particles=64, seed=0)
    ensemble.ask(black_box, 17, "sigma_points")
    model = ensemble.gradient(log_odds, 0, "sigma_points").model
    moved = 0.05 * torch.randn(6, *SHAPE, generator=rng) * (VARIANCES > 1e-3).float().reshape(SHAPE)
    others = model.center.reshape(SHAPE) + moved
    torch.testing.assert_close(model(others.flatten(1)), log_odds(black_box(others), 0), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("queries", [17, 18, 31, 50, 77, 200])
@pytest.mark.parametrize("particles", [1, 3, 12])
def test_a_search_asks_what_its_queries_leave_for_gradients(denoiser, black_box, queries, particles):
    search = SharedSearch(queries=queries, particles=particles, steps=7, refresh=3, unpaid=40)
    found = shared_search(black_box, denoiser, torch.full(SHAPE, 0.5), 0, log_odds, search, seed=0)
    assert search.gradients == 2
    wanted = 2 * search.queries_per_gradient
    assert black_box.queries <= wanted <= queries - 2
    if search.queries_per_gradient <= 16:  # 16 pixels have hardly more axes
        assert black_box.queries == wanted
    assert len(found.images) == len(found.likely) == len(found.paths[-1]) == particles + 1
    assert len(found.paths) == 7


def test_candidates_are_likely_where_the_model_has_them_decided_as_the_target(denoiser, black_box):
    """The score is linear, so the model is nearly exact. The search is too weak to flip all of them."""
    search = SharedSearch(particles=12, steps=7, refresh=3, guidance=0.1, unpaid=40)
    found = shared_search(black_box, denoiser, torch.full(SHAPE, 0.5), 1, log_odds, search, seed=0)
    values = log_odds(black_box(found.images), 1)
    clear = values.abs() > 0.05
    assert clear.sum() > 3
    assert 0 < found.likely.sum() < len(values)
    assert torch.equal(found.likely[clear], (values > 0)[clear])


@pytest.mark.parametrize("left", [0, 5, 13])
def test_a_search_whose_budget_ends_goes_on_without_guidance_and_says_so(denoiser, black_box, left):
    black_box.budget = left
    search = SharedSearch(queries=30, rounds=1, particles=3, steps=7, refresh=2, unpaid=40)
    found = shared_search(black_box, denoiser, torch.full(SHAPE, 0.5), 0, log_odds, search, seed=0)
    assert search.queries_per_gradient == 8
    assert black_box.queries == 8 * (left // 8)
    assert found.exhausted
    assert not found.no_signal
    assert found.images.isfinite().all()


def test_a_particle_predicted_to_have_arrived_is_not_guided(denoiser, black_box):
    image = torch.full(SHAPE, 0.5)

    fixed = {"particles": 3, "steps": 6, "queries": 8, "unpaid": 16, "spread": 1, "strength": 0.5, "momentum": 0.5}

    def found(**settings) -> torch.Tensor:
        search = SharedSearch(**fixed, **settings)
        return shared_search(black_box, denoiser, image, 0, log_odds, search, seed=0).images

    unguided = found(guidance=0.0)
    torch.testing.assert_close(found(stop=-1e9), unguided)
    guided = found(stop=1e9, guidance=0.12)
    assert (log_odds(black_box(guided), 0) > log_odds(black_box(unguided), 0) + 0.1).all()


def test_particles_are_guided_harder_one_after_the_other(denoiser, black_box):
    """All follow the same gradient, from half of the guidance to twice the guidance."""
    image = torch.full(SHAPE, 0.5)

    def rises(spread) -> torch.Tensor:
        fixed = {"particles": 3, "steps": 2, "queries": 12, "unpaid": 16, "proximity": 0, "eta": 0}
        search = SharedSearch(guidance=0.2, spread=spread, **fixed)
        found = [
            shared_search(black_box, denoiser, image, 0, log_odds, search.model_copy(update=change), seed=0).images[:3]
            for change in ({}, {"guidance": 0.0})
        ]
        return log_odds(black_box(found[0]), 0) - log_odds(black_box(found[1]), 0)

    torch.testing.assert_close(rises(2.0) / rises(1.0), torch.tensor([0.5, 1.0, 2.0]), rtol=0.02, atol=0)


@pytest.mark.parametrize("momentum", [0.0, 0.7, 2.0])
def test_the_direction_is_the_newest_and_the_one_before_weighed(denoiser, momentum):
    """The score bends, so the gradients around different points have different directions."""

    def bent(images):
        score = torch.sin(9 * images.flatten(1)) @ torch.linspace(-3, 4, 16)
        return torch.stack([score, torch.zeros(len(images))], dim=1)

    origin, t = torch.full(SHAPE, 0.5), denoiser.timestep(0.3)
    search = SharedSearch(steps=4, refresh=1, unpaid=40, queries=80, momentum=momentum)
    guide = SharedGradient(BlackBox(bent), denoiser, origin, 0, log_odds, search, seed=0)
    before = None
    for step in range(3):
        noisy = denoiser.add_noise(origin + 0.1 * step * torch.eye(4), t, torch.randn(8, *SHAPE))
        guide(Particles(step, t, noisy, *denoiser.separate(noisy, t), denoiser.space))
        newest = guide.local.gradient / guide.local.gradient.norm()
        wanted = newest if before is None else newest + momentum * before
        before = wanted / wanted.norm()
        torch.testing.assert_close(guide.direction[0], before, rtol=1e-4, atol=1e-6)
        assert step == 0 or ((newest - before).norm() > 0.05) == (momentum > 0)


def test_with_momentum_the_errors_of_rough_gradients_average_out(denoiser, black_box):
    """The score is linear, so each gradient is an estimate of the covariance times the same slope."""
    truth = (VARIANCES * torch.linspace(-3, 4, 16)).float()
    origin, t = torch.full(SHAPE, 0.5), denoiser.timestep(0.3)

    def cosine(momentum: float, seed: int) -> float:
        search = SharedSearch(steps=9, refresh=1, unpaid=2, estimate="cross_covariance", queries=60, momentum=momentum)
        guide = SharedGradient(black_box, denoiser, origin, 0, log_odds, search, seed=seed)
        for step in range(8):
            noisy = denoiser.add_noise(origin, t, particle_noise(seed, "start", step, 8, SHAPE))
            guide(Particles(step, t, noisy, *denoiser.separate(noisy, t), denoiser.space))
        return torch.cosine_similarity(guide.direction.flatten(), truth, dim=0).item()

    without, gained = (sum(cosine(momentum, seed) for seed in range(10)) / 10 for momentum in (0.0, 2.0))
    assert gained > without + 0.05
