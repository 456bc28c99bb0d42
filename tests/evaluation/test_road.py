"""Remove and debias, on a square that carries the whole decision."""

from __future__ import annotations

import pytest
import torch

from freemcg import BlackBox
from freemcg.evaluation import NoisyLinear, road
from freemcg.evaluation.road import FRACTIONS

SIDE = 10
SQUARE = (slice(None), slice(4, 6), slice(4, 6))
EXACT = NoisyLinear(noise=0.0)


def of_the_square(images):
    share = images[:, 0, 4:6, 4:6].double().mean(dim=(1, 2))
    return torch.stack([share, 1 - share], dim=1)


@pytest.fixture
def box():
    return BlackBox(of_the_square, "probabilities")


@pytest.fixture
def planted():
    """Two images of 0.2 with a bright square of four pixels, and the map that marks the square."""
    images = torch.full((2, 1, SIDE, SIDE), 0.2)
    maps = torch.zeros_like(images)
    for each, mark in zip(images, maps, strict=True):
        each[SQUARE] = 0.9
        mark[SQUARE] = 1.0
    return images, maps


def test_a_planted_square_is_lost_first_and_kept_to_the_last(box, planted):
    images, maps = planted
    found = road(box, images, maps, torch.zeros(2, dtype=torch.long), infill=EXACT)
    assert found.most_first.tolist() == [0.0, 0.0]
    assert found.least_first.tolist() == [1.0, 1.0]
    shape = (2, len(FRACTIONS))
    wanted = (torch.full(shape, 0.2).double(), torch.full(shape, 0.9).double())
    torch.testing.assert_close((found.most_first_curves, found.least_first_curves), wanted, rtol=0, atol=1e-5)


def test_an_inverted_map_changes_the_two_places(box, planted):
    images, maps = planted
    targets = torch.zeros(2, dtype=torch.long)
    right, wrong = (road(box, images, sign * maps, targets, infill=EXACT) for sign in (1, -1))
    torch.testing.assert_close(wrong.most_first, right.least_first)
    torch.testing.assert_close(wrong.least_first_curves, right.most_first_curves, rtol=0, atol=1e-5)
    both = road(box, images, -maps, targets, reduction="sum_abs", infill=EXACT)
    torch.testing.assert_close(both.most_first, right.most_first)


def test_the_decision_is_lost_at_the_fraction_that_takes_the_square(box, planted):
    """The map puts 35 pixels before the square: fractions to .3 take none of it, and those from .4 on all of it."""
    images, maps = planted
    maps[:, :, :3] = 2.0
    maps[:, :, 3, :5] = 2.0
    found = road(box, images, maps, torch.zeros(2, dtype=torch.long), infill=EXACT)
    assert found.most_first.tolist() == [3 / 7, 3 / 7]
    other = road(box, images, maps, torch.ones(2, dtype=torch.long), infill=EXACT)
    assert other.most_first.tolist() == [4 / 7, 4 / 7]


def test_it_costs_what_it_says_and_noise_moves_it_little(box, planted):
    images, maps = planted
    targets = torch.zeros(2, dtype=torch.long)
    noisy = road(box, images, maps, targets)
    assert box.queries == 2 * 2 * len(FRACTIONS)
    exact = road(box, images, maps, targets, infill=EXACT)
    moved = (noisy.most_first_curves - exact.most_first_curves).abs()
    assert 0.0005 < moved.max() < 0.03  # means of four pixels of noise 0.01


@pytest.mark.parametrize("fractions", [(), (0.0, 0.5), (0.5, 1.0)])
def test_fractions_out_of_range_are_refused(box, planted, fractions):
    with pytest.raises(ValueError, match="fractions must lie between 0 and 1, got"):
        road(box, *planted, torch.zeros(2, dtype=torch.long), fractions=fractions)
    assert box.queries == 0
