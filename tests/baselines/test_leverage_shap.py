"""Leverage SHAP: exact Shapley values by enumeration, the law of its draws, and what it costs."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations, permutations

import pytest
import torch
from torch import Tensor

from baselines.leverage_shap import LeverageSHAP, coalitions, every_pair, shapley_values

PLAYERS = 5


def exact(values: dict[frozenset[int], float], players: int) -> list[float]:
    """Shapley values by their definition: the mean gain of a player over all orders of arrival."""
    total = [0.0] * players
    for order in permutations(range(players)):
        for place, player in enumerate(order):
            before = frozenset(order[:place])
            total[player] += values[before | {player}] - values[before]
    return [each / math.factorial(players) for each in total]


def game(players: int, rng: torch.Generator) -> dict[frozenset[int], float]:
    """A random value for each coalition."""
    sets = [frozenset(each) for size in range(players + 1) for each in combinations(range(players), size)]
    return dict(zip(sets, torch.randn(len(sets), generator=rng, dtype=torch.double).tolist(), strict=True))


def fitted(values: dict[frozenset[int], float], players: int, pairs: int, seed: int = 0) -> Tensor:
    present, weights = coalitions(players, pairs, seed)
    answers = torch.tensor([values[frozenset(row.nonzero().flatten().tolist())] for row in present]).double()
    ends = [torch.tensor([values[frozenset(each)]]).double() for each in ((), range(players))]
    return shapley_values(present, weights, *ends, answers)


@pytest.mark.parametrize("players", [2, 4, PLAYERS])
def test_all_coalitions_give_the_shapley_values_of_any_game(players, rng):
    values = game(players, rng)
    found = fitted(values, players, every_pair(players))
    torch.testing.assert_close(found, torch.tensor(exact(values, players)).double(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pairs", [1, 7, 20])
def test_few_coalitions_still_sum_to_the_gain_of_all(pairs, rng):
    values = game(6, rng)
    gain = values[frozenset(range(6))] - values[frozenset()]
    assert fitted(values, 6, pairs).sum().item() == pytest.approx(gain, rel=1e-6)


def test_more_coalitions_come_nearer_to_the_shapley_values(rng):
    values = game(8, rng)
    truth = torch.tensor(exact(values, 8)).double()
    errors = [
        sum((fitted(values, 8, pairs, seed) - truth).square().sum().item() for seed in range(20)) for pairs in (20, 110)
    ]
    assert errors[1] < errors[0] / 8  # 1 / pairs alone would give 1 / 5.5; without replacement there is more


def test_draws_are_pairs_of_complements_and_none_comes_twice():
    for patches, pairs in ((6, 20), (7, 40), (64, 127)):
        present, _ = coalitions(patches, pairs, 3)
        assert present.shape == (2 * pairs, patches)
        assert torch.equal(present[::2], ~present[1::2])
        assert len({tuple(row) for row in present.tolist()}) == 2 * pairs


def test_a_coalition_is_drawn_by_its_leverage_score():
    """For 6 patches there are 6, 15 and 10 pairs with a coalition of size 1, 2 and 3, the last with both of size 3.

    So 12 pairs are expected if `12 = min(6, c) + min(15, c) + min(10, c / 2)`, which `c = 4.8` solves.
    """
    c, runs, counted = 4.8, 4000, Counter[tuple[bool, ...]]()
    for seed in range(runs):
        present, weights = coalitions(6, 12, seed)
        counted.update(tuple(row) for row in present.tolist())
        if seed == 0:
            for row, weight in zip(present, weights.tolist(), strict=True):
                size = int(row.sum())
                kernel = 1 / (math.comb(6, size) * size * (6 - size))
                assert weight == pytest.approx(kernel / (c / math.comb(6, size)))
    for coalition, times in counted.items():
        chance = c / math.comb(6, sum(coalition))
        assert times / runs == pytest.approx(chance, abs=5 * math.sqrt(chance * (1 - chance) / runs))
    assert len(counted) == 2**6 - 2


@pytest.mark.parametrize(("queries", "cost"), [(5, 4), (6, 4), (7, 6), (17, 16), (100, 16)])
def test_cost_is_even_and_ends_with_all_coalitions(queries, cost, images):
    """Four patches have 16 coalitions."""
    method = LeverageSHAP(lambda x: x.flatten(1)[:, :2], queries=queries, patch=3)
    method.attribute(images[:1, :, :, :4], 1)
    assert method.black_box.queries == cost


def test_map_is_exact_on_a_score_with_interactions_once_all_coalitions_are_asked(rng):
    """The score is the product of the patches' means: each of four equal patches gets a quarter of it."""
    image = torch.full((1, 1, 4, 4), 0.8)

    def answer(images: Tensor) -> Tensor:
        odds = torch.nn.functional.avg_pool2d(images, 2).flatten(1).prod(dim=1)
        return torch.stack([torch.zeros_like(odds), odds], dim=1)

    found = LeverageSHAP(answer, queries=17, patch=2).attribute(image, 1)
    torch.testing.assert_close(found, torch.full_like(found, 0.8**4 / 16), rtol=1e-3, atol=1e-5)


def test_thousands_of_patches_neither_overflow_nor_underflow():
    present, weights = coalitions(3136, 60, 0)
    assert present.shape == (120, 3136)
    assert weights.isfinite().all()
    assert weights.min() > 0
