"""Contributions: what the present value of each pixel adds, in units of the objective, at no further query."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import DDPMScheduler
from plane import SHAPE, make

from freemcg import BlackBox, Denoiser
from freemcg.gradient.levels import Ensembles
from freemcg.gradient.objective import log_odds
from freemcg.settings import ESTIMATES

RANK = 4


@pytest.fixture
def plane(rng):
    """An orthonormal basis `(16, RANK)` of the plane on which all data lie."""
    return torch.linalg.qr(torch.randn(16, RANK, generator=rng))[0]


@pytest.fixture
def flat(gaussian_network, plane):
    """The exact denoiser of data on that plane."""
    scheduler = DDPMScheduler()
    root = 0.3 * plane.double()
    network = gaussian_network(torch.zeros(SHAPE, dtype=torch.double), root @ root.T, scheduler)
    return Denoiser(network.float(), scheduler)


@pytest.fixture
def on_plane(plane, rng):
    """Two images on the plane."""
    image, other = (0.5 + 0.1 * torch.randn(2, RANK, generator=rng) @ plane.T).reshape(2, *SHAPE)
    assert 0 < min(image.min(), other.min()) < max(image.max(), other.max()) < 1
    return image, other


def two_classes(classifier):
    """A model whose log-odds are linear, `x @ slope`."""
    slope = (classifier.weights[:, 0] - classifier.weights[:, 1]).detach()
    return BlackBox(lambda images: classifier(images)[:, :2]), slope


@pytest.mark.parametrize("noise", [0.2, (0.2, 0.4)])
@pytest.mark.parametrize("estimate", ESTIMATES)
def test_contributions_of_a_linear_score_on_a_known_plane(classifier, flat, plane, on_plane, estimate, noise):
    """Every estimate gives `P w * (image - baseline)`. On the plane they add up to what the score changes by."""
    (image, other), (box, slope) = on_plane, two_classes(classifier)
    result = make(box, flat, estimate=estimate, noise=noise, queries=41).explain(image, 0)
    found = result.contribution(other)
    wanted = (plane @ (plane.T @ slope)).reshape(SHAPE) * (image - other)
    torch.testing.assert_close(found.values, wanted, rtol=0, atol=0.01 * wanted.abs().max().item())
    change = ((image - other).flatten() @ slope).item()
    assert abs(change) > 0.1
    assert found.values.sum().item() == pytest.approx(change, rel=0.01)
    assert found.queries == result.queries == len(classifier.asked)
    if estimate == "regression":
        torch.testing.assert_close(found.values, result.values * (image - other))


def test_what_lies_off_the_plane_adds_nothing(classifier, flat, plane, on_plane, rng):
    (image, _), (box, slope) = on_plane, two_classes(classifier)
    away = 0.05 * torch.randn(16, generator=rng)
    within, off = plane @ (plane.T @ away), away - plane @ (plane.T @ away)
    result = make(box, flat, queries=41).explain(image, 0)
    totals = [result.contribution(image - part.reshape(SHAPE)).values.sum().item() for part in (away, within, off)]
    assert totals[0] == pytest.approx((within @ slope).item(), rel=0.01)
    assert totals[1] == pytest.approx(totals[0], rel=0.01)
    assert abs(totals[2]) < 0.01 * abs((off @ slope).item())


def test_a_map_that_is_multiplied_by_the_covariance_would_not_add_up(classifier, flat, on_plane):
    (image, other), (box, slope) = on_plane, two_classes(classifier)
    result = make(box, flat, queries=41).explain(image, 0)
    change = ((image - other).flatten() @ slope).item()
    assert abs((result.values * (image - other)).sum().item()) < 0.2 * abs(change)


@pytest.mark.parametrize("estimate", ESTIMATES)
@pytest.mark.parametrize("budget", [2, 3, 4, 6, 9])
def test_a_budget_that_ends_early_leaves_a_contribution(classifier, denoiser, image, estimate, budget):
    result = make(classifier, denoiser, budget=budget, estimate=estimate).explain(image, 0)
    found = result.contribution()
    assert found.status == "budget_exhausted"
    assert found.values.isfinite().all()
    assert not found.standard_error.isnan().any()
    found.plot()


def test_no_error_is_told_without_paid_particles(classifier, denoiser, image):
    found = make(classifier, denoiser, estimate="sigma_points").explain(image, 0).contribution()
    assert (found.standard_error == math.inf).all()
    assert not found.significant().any()


def test_levels_are_averaged(classifier, denoiser, image):
    explainer = make(classifier, denoiser, noise=(0.2, 0.4), queries=33)
    result, ensembles = explainer.explain(image, 0), Ensembles(denoiser, image, explainer.settings)
    ensembles.ask(explainer.black_box, 32)
    first, second = (each.projected_gradient(log_odds, 0) for each in ensembles.ensembles)
    torch.testing.assert_close(result.projected_gradient, (first.gradient + second.gradient) / 2)
    wanted = (first.standard_error.square() + second.standard_error.square()).sqrt() / 2
    torch.testing.assert_close(result.projected_error, wanted)


def test_bare_labels_widen_the_error_of_a_contribution_too(classifier, denoiser, image):
    """The same answers, read as labels and as the scores that these labels stand for."""
    box = BlackBox(lambda images: classifier(images).argmax(dim=1), scores="label", num_classes=3)
    result = make(box, denoiser, queries=65, noise=0.5).explain(image)
    scored = BlackBox(lambda images: box(images).exp(), scores="probabilities")
    wanted = make(scored, denoiser, queries=65, noise=0.5, estimate="cross_covariance").explain(image)
    torch.testing.assert_close(result.projected_gradient, wanted.projected_gradient, rtol=1e-3, atol=1e-3)
    ratio = result.projected_error / wanted.projected_error
    torch.testing.assert_close(ratio, torch.full_like(ratio, ratio.mean().item()), rtol=1e-3, atol=0)
    map_ratio = (result.standard_error / wanted.standard_error).mean().item()
    assert ratio.mean().item() == pytest.approx(map_ratio, rel=1e-3)
    assert map_ratio > 1.0
