"""Measures of maps on scores and maps whose figures are known by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from freemcg import BlackBox
from freemcg.evaluation import (
    bright_object,
    completeness_residual,
    coverage,
    effective_noise,
    infidelity,
    mass_inside,
    max_sensitivity,
    pointing_game,
    sensitivity_n,
)
from freemcg.evaluation.map_noise import total_variation

SHAPE = (3, 4, 3)


class LinearScore(nn.Module):
    """Logits `(w . x, 0)`: the log-odds of class 0 are `w . x`, and those of class 1 are `-w . x`."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, images):
        score = (images * self.weight).sum(dim=(1, 2, 3))
        return torch.stack([score, torch.zeros_like(score)], dim=1)


@pytest.fixture
def weight(rng):
    return torch.randn(SHAPE, generator=rng)


@pytest.fixture
def box(weight):
    return BlackBox(LinearScore(weight).eval().requires_grad_(False))


@pytest.fixture
def pictures(rng):
    """Images far from 0 and 1, so that no perturbation is clipped."""
    return 0.5 + 0.1 * torch.rand(3, *SHAPE, generator=rng)


ZEROS = torch.zeros(3, dtype=torch.long)


# --- infidelity ---


def test_the_gradient_of_a_linear_score_is_faithful_and_its_double_misses_by_the_noise(box, weight, pictures):
    """`E (I . 2w - I . w)^2 = s^2 |w|^2`, and one factor mends it."""
    own = weight.expand_as(pictures)
    settings = {"samples": 4000, "noise": 0.02}
    exact, double = (infidelity(box, pictures, factor * own, ZEROS, **settings) for factor in (1, 2))
    torch.testing.assert_close(exact.raw, torch.zeros(3).double(), rtol=0, atol=1e-9)
    wanted = 0.02**2 * weight.double().square().sum()
    torch.testing.assert_close(double.raw, wanted.expand(3), rtol=0.1, atol=0)
    torch.testing.assert_close(double.unexplained, torch.zeros(3).double(), rtol=0, atol=1e-7)
    assert box.queries == 2 * 3 * 4001


def test_what_a_map_does_not_explain_is_its_angle_to_the_gradient(box, weight, pictures, rng):
    """For Gaussian noise, `1 - cos^2` of the angle between the map and the gradient is left."""
    other = torch.randn(3, *SHAPE, generator=rng) + 0.5 * weight
    found = infidelity(box, pictures, other, ZEROS, samples=6000, noise=0.02)
    cosine = torch.cosine_similarity(other.flatten(1), weight.flatten()[None]).double()
    torch.testing.assert_close(found.unexplained, 1 - cosine**2, rtol=0, atol=0.04)
    torch.testing.assert_close(
        found.scaled, found.unexplained * 0.02**2 * weight.double().square().sum(), rtol=0.1, atol=0
    )
    nothing = infidelity(box, pictures, torch.zeros_like(pictures), ZEROS)
    assert nothing.unexplained.tolist() == [1, 1, 1]
    torch.testing.assert_close(nothing.raw, nothing.scaled)


def test_a_clipped_perturbation_counts_as_what_is_left_of_it(box, weight):
    edge = torch.ones(1, *SHAPE)
    found = infidelity(box, edge, weight[None], ZEROS[:1], noise=0.3)
    torch.testing.assert_close(found.raw, torch.zeros(1).double(), rtol=0, atol=1e-9)


def test_a_score_that_never_moves_has_no_share(pictures):
    still = infidelity(BlackBox(lambda images: torch.zeros(len(images), 3)), pictures, torch.ones_like(pictures), ZEROS)
    assert still.unexplained.isnan().all()
    assert (still.raw > 0).all()


@pytest.mark.parametrize("scale", [False, True])
def test_infidelity_is_captums(box, pictures, rng, scale):
    metrics = pytest.importorskip("captum.metrics")
    maps = torch.randn(3, *SHAPE, generator=rng)
    given = []

    def asked(images):
        given.append(images[1:])
        return LinearScore(torch.linspace(-3, 3, 36).reshape(SHAPE))(images).sin().detach()

    found = infidelity(BlackBox(asked, batch_size=999), pictures, maps, ZEROS, samples=16, noise=0.05)
    moved = torch.stack([each[:16] for each in given])

    def perturb(inputs):
        assert len(inputs) == 3 * 16
        return (pictures[:, None] - moved).flatten(0, 1), moved.flatten(0, 1)

    def log_odds(images):
        logits = asked(images)
        return logits[:, 0] - logits[:, 1]

    theirs = metrics.infidelity(log_odds, perturb, pictures, maps, n_perturb_samples=16, normalize=scale)
    torch.testing.assert_close(found.scaled if scale else found.raw, theirs.double(), rtol=1e-4, atol=1e-6)


# --- max-sensitivity ---


def test_a_map_that_ignores_the_image_does_not_move(pictures, weight):
    constant = weight.expand_as(pictures)
    assert max_sensitivity(lambda images: constant, pictures, constant).tolist() == [0, 0, 0]
    assert max_sensitivity(torch.zeros_like, pictures, 0 * pictures).isnan().all()


def test_the_image_as_its_own_map_moves_as_far_as_the_noise(pictures):
    """Each of D pixels moves by a uniform draw, so the length is about `radius sqrt(D / 3)`."""
    moved = max_sensitivity(lambda images: images, pictures, pictures, radius=0.03, samples=200)
    lengths = moved * pictures.double().flatten(1).norm(dim=1)
    root = math.sqrt(36)
    assert (lengths > 0.03 * root / math.sqrt(3)).all()
    assert (lengths < 0.03 * root * 0.75).all()
    single = max_sensitivity(lambda images: images, pictures, pictures, radius=0.03, samples=1)
    torch.testing.assert_close(single * pictures.double().flatten(1).norm(dim=1), lengths, rtol=0.35, atol=0)
    assert (single < moved).all()


def test_max_sensitivity_is_captums_on_the_same_draws(pictures):
    metrics = pytest.importorskip("captum.metrics")
    seen = []

    def attribute(images):
        seen.append(images)
        return images.sin() * images.sum(dim=(1, 2, 3), keepdim=True)

    ours = max_sensitivity(attribute, pictures, attribute(pictures), samples=5)
    draws = torch.stack(seen[1:], dim=1)
    noise = draws - pictures[:, None]
    assert 0.019 < noise.abs().max() <= 0.0201
    assert abs(noise.mean()) < 0.003

    def perturb(inputs, radius):
        return (draws.flatten(0, 1),)

    theirs = metrics.sensitivity_max(lambda given: (attribute(*given),), pictures, perturb, n_perturb_samples=5)
    torch.testing.assert_close(ours, theirs.double(), rtol=1e-5, atol=0)


# --- sensitivity-n ---


def test_what_each_pixel_adds_correlates_fully_with_a_linear_score(box, weight, pictures):
    adds = weight * (pictures - pictures.mean(dim=(2, 3), keepdim=True))
    found = sensitivity_n(box, pictures, 3 * adds, ZEROS, sets=9)
    assert box.queries == 3 * (4 * 9 + 1)
    torch.testing.assert_close(found.correlations, torch.ones(3, 4).double(), rtol=0, atol=1e-5)
    against = sensitivity_n(box, pictures, adds, ZEROS + 1, sets=9)
    torch.testing.assert_close(against.mean, -torch.ones(3).double(), rtol=0, atol=1e-5)


def test_with_sets_of_one_pixel_it_is_the_correlation_of_the_maps(box, weight, pictures, rng):
    maps = torch.randn(3, *SHAPE, generator=rng)
    found = sensitivity_n(box, pictures, maps, ZEROS, fractions=(0.05,), sets=3000)
    adds = (weight * (pictures - pictures.mean(dim=(2, 3), keepdim=True))).sum(dim=1).flatten(1)
    for image in range(3):
        wanted = torch.corrcoef(torch.stack([adds[image], maps[image].sum(dim=0).flatten()]))[0, 1].item()
        assert found.mean[image].item() == pytest.approx(wanted, abs=0.06)


def test_a_constant_map_foretells_nothing(box, pictures):
    assert sensitivity_n(box, pictures, torch.full_like(pictures, 0.3), ZEROS).mean.tolist() == [0, 0, 0]


# --- localisation ---


def test_pointing_and_mass_of_a_planted_square():
    masks = torch.zeros(4, 6, 6, dtype=torch.bool)
    masks[:, 1:3, 1:4] = True
    maps = torch.zeros(4, 3, 6, 6)
    maps[0, 0, 1:3, 1:4] = 1.0  # the square itself
    maps[1] = 0.5  # constant
    maps[2, 2, 1, 1], maps[2, 1, 5, 5] = 3.0, 1.0  # three quarters inside
    maps[3, :, 1, 1], maps[3, 0, 4, 4] = torch.tensor([2.0, -3.0, 0.0]), 0.5  # the sum over channels is negative inside
    assert pointing_game(maps, masks).tolist() == [1, 6 / 36, 1, 0]
    assert mass_inside(maps, masks).tolist() == pytest.approx([1, 6 / 36, 0.75, 0])
    assert mass_inside(-maps.abs(), masks).isnan().all()


def test_the_bright_object_is_what_lies_nearer_to_the_brightest_pixel():
    images = torch.zeros(3, 2, 4, 4)
    images[0, :, 1:3, 1:3] = 0.8
    images[0, :, 0, 0] = 0.3
    images[1, 0, 2, 2], images[1, 1] = 0.6, 0.2  # light is the mean of the channels
    images[2] = 0.5  # a plain image is all object
    wanted = torch.zeros(3, 4, 4, dtype=torch.bool)
    wanted[0, 1:3, 1:3] = wanted[1, 2, 2] = wanted[2] = True
    assert torch.equal(bright_object(images), wanted)


def test_the_mean_of_random_maps_is_the_area_of_the_mask(rng):
    masks = torch.zeros(3000, 5, 5, dtype=torch.bool)
    masks[:, :2, :4] = True
    maps = torch.rand(3000, 1, 5, 5, generator=rng)
    assert pointing_game(maps, masks).mean().item() == pytest.approx(8 / 25, abs=0.03)
    assert mass_inside(maps, masks).mean().item() == pytest.approx(8 / 25, abs=0.01)


def test_an_empty_mask_and_one_of_another_size_are_refused():
    with pytest.raises(ValueError, match="a mask is empty, so nothing can lie inside it; leave its image out"):
        pointing_game(torch.ones(2, 1, 3, 3), torch.zeros(2, 3, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"give boolean masks \(N, H, W\), got torch.bool \(2, 4, 3\)"):
        mass_inside(torch.ones(2, 1, 3, 3), torch.ones(2, 4, 3, dtype=torch.bool))


# --- completeness ---


def test_completeness_of_a_linear_score_by_hand(box, weight, pictures):
    adds = weight * (pictures - pictures.mean(dim=(2, 3), keepdim=True))
    found = [completeness_residual(box, pictures, factor * adds, ZEROS) for factor in (1, 0, 0.25, 3)]
    for residual, wanted in zip(found, (0, 1, 0.75, 2), strict=True):
        torch.testing.assert_close(residual, torch.full((3,), wanted).double(), rtol=0, atol=1e-4)
    assert box.queries == 4 * 3 * 2


# --- noise of the map ---


def test_total_variation_by_hand():
    assert total_variation(torch.tensor([[[1.0, 3.0], [0.0, 7.0]]])).tolist() == [2 + 7 + 1 + 4]


def test_noise_of_a_checkerboard_a_ramp_a_constant_and_white_noise(rng):
    row, column = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    checkers, ramp = ((row + column) % 2).float(), (row + column).float()
    white = torch.randn(64, 64, generator=rng)
    maps = torch.stack([checkers, ramp, torch.full((64, 64), 0.2), white])[:, None]
    found = effective_noise(maps).tolist()
    assert found[0] > 0.98
    assert 0 <= found[1] < 0.03
    assert found[2] == 0
    kernel = torch.exp(-0.5 * torch.arange(-4, 5).double() ** 2)
    kernel = kernel / kernel.sum()
    steps = nn.functional.pad(kernel, (0, 1)) - nn.functional.pad(kernel, (1, 0))
    after = (steps.square().sum() * kernel.square().sum()).sqrt().item()
    assert found[3] == pytest.approx(1 - after / math.sqrt(2), abs=0.02)
    assert effective_noise(7 * maps + 3).tolist() == pytest.approx(found, abs=1e-6)


# --- error bars ---


def test_bars_of_the_right_width_cover_what_they_promise(rng):
    reference = torch.randn(2, 3, 100, 100, generator=rng)
    errors = 0.1 + torch.rand(reference.shape, generator=rng)
    values = reference + errors * torch.randn(reference.shape, generator=rng)
    assert coverage(values, errors, reference).tolist() == pytest.approx([0.95, 0.95], abs=0.01)
    assert coverage(values, errors, reference, width=1).tolist() == pytest.approx([0.683, 0.683], abs=0.01)
    assert coverage(values, errors / 2, reference).tolist() == pytest.approx([0.673, 0.673], abs=0.01)
    assert coverage(values, torch.full_like(errors, math.inf), reference).tolist() == [1, 1]
    with pytest.raises(ValueError, match="values, standard errors and reference must have one shape"):
        coverage(values, errors[:1], reference)
