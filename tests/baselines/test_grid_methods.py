"""Sobol indices and HSIC: closed forms of both estimators, and the way from an image to its grid and back."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from baselines.hsic import HSIC, dependence
from baselines.sobol import Sobol, exchanged, pairs, total_indices

EFFECTS = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.double)


def indices(function, cells: int, count: int, seed: int = 0) -> Tensor:
    """The total indices of a function of masks `(.., cells)`, from `count` pairs."""
    first, second = pairs(count, cells, seed)
    return total_indices(function(first), function(second), function(exchanged(first, second)))


def cells_of(image: Tensor, side: int) -> Tensor:
    """The sum of an image over each cell, `(side ** 2,)`, if the grid divides it evenly."""
    return (
        torch.nn.functional.avg_pool2d(image, image.shape[-1] // side).sum(0).flatten() * (image.shape[-1] // side) ** 2
    )


# Sobol


def test_indices_of_a_sum_are_its_shares_of_the_variance():
    """For `sum_i e_i m_i` the total index is `e_i^2 / sum e^2`."""
    found = indices(lambda masks: masks @ EFFECTS + 7, 4, 2048)
    torch.testing.assert_close(found, EFFECTS**2 / (EFFECTS**2).sum(), rtol=0.02, atol=0)


def test_indices_of_a_product_hold_the_interaction():
    """For `m_1 m_2` each is `E[m^2] Var m / (E[m^2]^2 - E[m]^4) = 4/7`, more than half. The third plays no part."""
    found = indices(lambda masks: masks[..., 0] * masks[..., 1], 3, 4096)
    torch.testing.assert_close(found, torch.tensor([4 / 7, 4 / 7, 0], dtype=torch.double), rtol=0.02, atol=1e-12)


def test_indices_by_hand():
    """A second route, with loops: three pairs, two cells."""
    first, second = pairs(3, 2, 5)
    function = lambda a, b: a * a + 3 * b + a * b  # noqa: E731
    answers = [function(*mask.tolist()) for mask in (*first, *second)]
    mean = sum(answers) / 6
    variance = sum((each - mean) ** 2 for each in answers) / 5
    wanted = []
    for cell in range(2):
        lost = 0.0
        for own, other in zip(first.tolist(), second.tolist(), strict=True):
            mixed = [other[index] if index == cell else own[index] for index in range(2)]
            lost += (function(*own) - function(*mixed)) ** 2 / 2 / 3
        wanted.append(lost / variance)
    found = indices(lambda masks: function(masks[..., 0], masks[..., 1]), 2, 3, seed=5)
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.double))


def test_pairs_are_uniform_and_independent_of_each_other():
    first, second = pairs(1024, 5, 0)
    both = torch.cat([first, second], dim=1)
    torch.testing.assert_close(both.mean(dim=0), torch.full((10,), 0.5, dtype=torch.double), rtol=0, atol=5e-3)
    torch.testing.assert_close(both.T.cov(), torch.eye(10, dtype=torch.double) / 12, rtol=0, atol=5e-3)


@pytest.mark.parametrize(
    ("queries", "cells", "designs"), [(7, 2, 1), (20, 2, 3), (65, 4, 3), (257, 8, 3), (2113, 8, 32)]
)
def test_queries_decide_the_grid(queries, cells, designs):
    method = Sobol(lambda images: images.flatten(1)[:, :2], queries=queries)
    assert (method._side, method._designs) == (cells, designs)


# HSIC


def every_mask(cells: int) -> Tensor:
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=cells)), dtype=torch.double)


def test_dependence_is_zero_for_cells_that_play_no_part():
    """Over all masks it is exactly zero, whatever the function of the other cells."""
    masks = every_mask(5)
    found = dependence(masks, (masks[:, 0] + 2 * masks[:, 3]).exp() + masks[:, 0] * masks[:, 3])
    assert found[[1, 2, 4]].abs().max() < 1e-12
    assert found[[0, 3]].min() > 0.01


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (-30.0, 4.0), (1e-3, -1.0)])
def test_dependence_on_one_cell_has_its_closed_form(scale, offset):
    """The distances are 0 or the scale, so `L` is 1 or `exp(-1/2)`: `(1 - exp(-1/2)) / 4 * (p / (p - 1))^2`."""
    masks = every_mask(4)
    found = dependence(masks, scale * masks[:, 2] + offset)
    wanted = torch.zeros(4, dtype=torch.double)
    wanted[2] = (1 - math.exp(-0.5)) / 4 * (16 / 15) ** 2
    torch.testing.assert_close(found, wanted)


def test_dependence_is_the_trace_of_its_definition(rng):
    masks = (torch.rand(30, 6, generator=rng) < 0.5).double()
    answers = masks @ torch.randn(6, generator=rng, dtype=torch.double) + torch.rand(30, generator=rng).double()
    apart = sorted(abs(a - b) for a in answers.tolist() for b in answers.tolist() if a != b)
    width = apart[(len(apart) - 1) // 2]
    centring = torch.eye(30, dtype=torch.double) - 1 / 30
    likeness = torch.exp(-((answers[:, None] - answers) ** 2) / (2 * width**2))
    for cell, found in enumerate(dependence(masks, answers)):
        same = (masks[:, None, cell] == masks[None, :, cell]).double()
        wanted = torch.trace(same @ centring @ likeness @ centring) / 29**2
        torch.testing.assert_close(found, wanted)


def test_dependence_on_chance_falls_as_one_over_the_masks(rng):
    """The bias of order `1 / p`: four times as many masks, a quarter of it."""
    means = []
    for count in (50, 200):
        masks = (torch.rand(count, 400, generator=rng) < 0.5).double()
        means.append(dependence(masks, torch.randn(count, generator=rng, dtype=torch.double)).mean().item())
    assert means[0] / means[1] == pytest.approx(4, rel=0.25)


# From an image to its grid and back


@pytest.fixture
def image(rng) -> Tensor:
    return torch.rand(3, 8, 8, generator=rng)


@pytest.fixture
def weights(rng) -> Tensor:
    return torch.randn(3, 8, 8, generator=rng)


def scores(weights: Tensor):
    """A black box whose log-odds of class 1 are `weights . x`."""

    def answer(images: Tensor) -> Tensor:
        odds = (images * weights).flatten(1).sum(dim=1)
        return torch.stack([torch.zeros_like(odds), odds], dim=1)

    return answer


def test_sobol_map_of_a_linear_score_is_the_grid_of_its_shares(image, weights):
    """A cell's effect is `e = sum w (x - b)`, and a pair of masks shows `e (a - b)`. As many cells as pixels, so that
    nothing is enlarged.
    """
    effect = (weights * (image - 0.25)).sum(dim=0).flatten().double() / 4
    found = Sobol(scores(weights / 4), queries=66 * 16 + 1, cells=8, base=0.25).attribute(image[None], 1)[0]
    first, second = pairs(16, 64, 0)
    variance = (torch.cat([first, second]) @ effect).var()
    wanted = effect**2 * (first - second).square().mean(dim=0) / 2 / variance
    torch.testing.assert_close(found, wanted.float().reshape(8, 8).expand(3, 8, 8), rtol=1e-3, atol=1e-5)


def test_hsic_map_asks_about_cells_and_enlarges_their_grid(image, weights):
    """The log-odds of each mask are known, so the grid is `dependence` of them."""
    method = HSIC(scores(weights), queries=65, cells=4, base=0.25)
    masks = method._masks()
    effects = cells_of(weights * (image - 0.25), 4).double()
    grid = dependence(masks, masks @ effects).reshape(1, 1, 4, 4)
    wanted = torch.nn.functional.interpolate(grid, size=(8, 8), mode="bicubic")[0].float()
    found = method.attribute(image[None], 1)[0]
    torch.testing.assert_close(found, wanted.expand(3, 8, 8), rtol=1e-3, atol=1e-5)
    assert set(masks.flatten().tolist()) == {0.0, 1.0}
    assert (masks.mean(dim=0) - 0.5).abs().max() <= 1 / 64 + 1e-9


def test_a_grid_need_not_divide_the_image(weights, image):
    small = image[:, :7, :5]
    found = HSIC(scores(weights[:, :7, :5]), queries=30, cells=3).attribute(small[None], 1)
    assert found.shape == (1, 3, 7, 5)
    assert found.std() > 0


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        (Sobol, {"queries": 6}, "queries must be >= 7, got 6"),
        (Sobol, {"queries": 66, "cells": 8}, "queries must be >= 67 for 8 cells a side, got 66"),
        (HSIC, {"cells": 1}, "cells must be >= 2, got 1"),
        (HSIC, {"base": 1.5}, "base must be in [0, 1], got 1.5"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(method, settings, message, weights):
    with pytest.raises(ValueError) as caught:
        method(scores(weights), **settings)
    assert str(caught.value) == message


def test_more_cells_than_pixels_are_refused_before_a_query(weights, image):
    method = HSIC(scores(weights), cells=9)
    with pytest.raises(ValueError, match=r"^cells is 9, too many for an image of 8x8$"):
        method.attribute(image[None], 1)
    assert method.black_box.queries == 0
