"""Error bars of maps from bare labels. They claim no more than a count of labels can say."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from freemcg import BlackBox, FreeMCG
from freemcg.diffusion.particles import draw_particles
from freemcg.ensemble import cross_covariance, label_widening

NORMAL = torch.distributions.Normal(0.0, 1.0)


def test_error_bars_are_as_wide_as_two_more_of_either_label_make_them():
    """With them, 3 of 12 labels become 5 of 16."""
    values = torch.tensor([4.6] * 3 + [-6.8] * 9)
    wanted = math.sqrt(5 / 16 * 11 / 16 / (3 / 12 * 9 / 12))
    assert label_widening(values) == pytest.approx(wanted)
    assert label_widening(-values.flip(0)) == pytest.approx(wanted)
    assert label_widening(torch.tensor([0.0, 1.0] * 50)) == pytest.approx(1)
    assert label_widening(torch.tensor([1.0] * 7 + [0.0, 2.0, 2.0, 3.0, 0.0])) == pytest.approx(
        math.sqrt(7 / 16 * 9 / 16 / (5 / 12 * 7 / 12))
    )
    assert label_widening(torch.ones(40)) == label_widening(torch.ones(0)) == math.inf


@pytest.mark.parametrize("share", [0.5, 0.1, 0.05])
@pytest.mark.parametrize("count", [32, 128])
def test_intervals_cover_the_covariance_of_a_label_95_percent_of_the_time(share, count, rng):
    """`y` is `high` if `a x > b`, else `low`. For Gaussian `x`, `Cov(x, y) = (high - low) phi(z) S a / sd(a x)`."""
    low, high, trials = -6.8, 4.6, 400
    root = torch.randn(6, 6, generator=rng)
    slope = torch.randn(6, generator=rng)
    along = root @ root.T @ slope
    deviation = (slope @ along).sqrt()
    z = NORMAL.icdf(torch.tensor(1 - share))
    truth = (high - low) * NORMAL.log_prob(z).exp() * along / deviation
    covered = []
    for _ in range(trials):
        x = torch.randn(count, 6, generator=rng) @ root.T
        y = torch.where(x @ slope > z * deviation, high, low)
        if (y == low).all():
            continue  # no signal: the error is infinite, and every interval covers
        found = cross_covariance(x, y[:, None], torch.ones(1))
        error = label_widening(y) * found.standard_error
        covered.append(((found.gradient - truth).abs() <= 1.96 * error).float().mean())
    assert len(covered) > trials / 2
    assert 0.92 < torch.stack(covered).mean() < 0.985


def test_error_bars_of_labels_are_widened_and_those_of_scores_are_not(denoiser, image):
    """One model answers labels, and the other the probabilities that these labels stand for."""
    weights = torch.linspace(-1, 2, 16)

    def label(images: Tensor) -> Tensor:
        return ((images - image).flatten(1) @ weights > 0).long()

    def probabilities(images: Tensor) -> Tensor:
        return torch.where(label(images)[:, None] == torch.arange(2), 0.99, 0.01)

    boxes = (BlackBox(label, "label", num_classes=2), BlackBox(probabilities, "probabilities"))
    ours, theirs = (FreeMCG(box, denoiser, queries=25, estimate="cross_covariance").explain(image, 1) for box in boxes)
    torch.testing.assert_close(ours.values, theirs.values)
    particles = draw_particles(denoiser, image, denoiser.timestep(0.2), 24, seed=0)
    wider = label_widening(label(particles).float())
    assert wider > 1.001
    torch.testing.assert_close(ours.standard_error, wider * theirs.standard_error)
    assert ours.error_parts is not None
    assert theirs.error_parts is not None
    assert ours.error_parts["residual"] == pytest.approx(wider**2 * theirs.error_parts["residual"], rel=1e-4)


def test_labels_that_are_all_alike_have_no_error_bar(denoiser, image):
    """None of K labels differed. So the share that would is below 3 / K, but it need not be 0."""
    box = BlackBox(lambda images: torch.zeros(len(images)), "label", num_classes=3)
    result = FreeMCG(box, denoiser, queries=17).explain(image)
    assert result.status == "no_signal"
    assert result.values.abs().max() < 1e-9
    assert result.standard_error.isinf().all()
    assert not result.significant().any()
    assert result.relative_error == math.inf


def test_no_error_is_known_if_all_labels_are_the_same(denoiser, image):
    result = FreeMCG(
        BlackBox(lambda images: torch.zeros(len(images)), scores="label", num_classes=2), denoiser
    ).explain(image)
    assert result.error_parts["residual"] == math.inf
