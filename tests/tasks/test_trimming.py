"""Which regions of a change an answer needs, with models whose log-odds are known."""

from __future__ import annotations

import pytest
import torch
from plane import SHAPE

from freemcg import BlackBox, FreeMCG, SharedSearch
from freemcg.gradient.objective import log_odds
from freemcg.results import Status
from freemcg.settings.search import CHECKS_OF_TRIM
from freemcg.tasks.candidates import Candidates
from freemcg.tasks.checks import Checked, Checker
from freemcg.tasks.counterfactual import search_counterfactuals
from freemcg.tasks.rounds import Round
from freemcg.tasks.trimming import KEPT, most_for_their_cost, soft_regions, trimmed, what_regions_add

SIDE = 32
IMAGE = torch.full((1, SIDE, SIDE), 0.5)
CHANGE = 0.2 * torch.ones(1, SIDE, SIDE)
LEFT = (torch.arange(SIDE) < SIDE // 2).float().expand(1, SIDE, SIDE)


def box_of(weights, *, offset=0.0, bend=lambda odds: odds, budget=None):
    """A black box whose log-odds of class 1 are `bend` of a linear function of the change."""

    def predict(images):
        odds = bend((images - IMAGE).flatten(1) @ weights.flatten() - offset)
        return torch.stack([torch.zeros_like(odds), odds], dim=1)

    return BlackBox(predict, budget=budget)


def checker_of(box, denoiser=None):
    return Checker(box, denoiser, 1, confidence=0.9, copies=0, seed=0)


def answer_of(box, change=CHANGE, status=Status.COMPLETE):
    image = ((IMAGE + change) * 255).round() / 255
    return Checked(image, 0, box(image[None])[0], status)


def odds_of(answer):
    return log_odds(answer.log_probabilities[None], 1).item()


def test_regions_share_every_pixel():
    for side, shape in ((2, (1, 8, 8)), (8, (3, 28, 28)), (5, (3, 40, 24)), (8, (1, 6, 6))):
        regions = soft_regions(side, torch.zeros(shape))
        assert regions.shape == (side**2, *shape[1:])
        assert (regions.sum(dim=0) - 1).abs().max() < 1e-6
        assert (regions >= 0).all()


def test_a_linear_model_is_known_exactly_from_random_halves():
    """The ridge shrinks by at most `1 / (1 + pairs / 2)`, and differences of pairs know nothing of the offset."""
    weights = torch.randn(1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    regions = soft_regions(4, IMAGE)
    exact = (regions * weights * CHANGE).sum(dim=(1, 2))
    box = box_of(weights, offset=3.0)
    found = what_regions_add(checker_of(box), IMAGE, CHANGE, regions, 400)
    assert (found - exact).abs().max() < 0.02 * exact.abs().max()
    assert box.queries == 800


def test_the_halves_of_a_pair_make_the_whole_change():
    seen = []

    def predict(images):
        seen.append(images)
        return torch.zeros(len(images), 2)

    what_regions_add(checker_of(BlackBox(predict)), IMAGE, CHANGE, soft_regions(4, IMAGE), 6)
    asked = torch.cat(seen) - IMAGE
    assert (asked[:6] + asked[6:] - CHANGE).abs().max() < 1e-6


def test_what_adds_most_for_its_cost_is_kept_until_the_share_is_reached():
    adds, costs = torch.tensor([6.0, 3.0, 1.0, -4.0, 0.0]), torch.tensor([1.0, 10.0, 0.1, 1.0, 1.0])
    assert most_for_their_cost(adds, costs, 0.1).tolist() == [0, 0, 1, 0, 0]
    assert most_for_their_cost(adds, costs, 0.7).tolist() == [1, 0, 1, 0, 0]
    assert most_for_their_cost(adds, costs, 0.71).tolist() == [1, 1, 1, 0, 0]
    assert most_for_their_cost(adds, costs, 1.0).tolist() == [1, 1, 1, 0, 0]


def test_what_the_answer_does_not_need_is_given_back():
    box = box_of(LEFT / 10)
    before = answer_of(box)
    found = trimmed(checker_of(box), before, IMAGE, 131)
    change = (found.image - IMAGE)[0]
    assert odds_of(found) >= odds_of(before)
    assert change[:, 20:].abs().max() < 0.01  # but for soft edges, the right half is the input again
    assert change[:, :12].mean() == pytest.approx(1.3 * 0.2, rel=0.12)
    assert change.abs().mean() < 0.75 * 0.2
    kept, regions = found.trimmed
    assert regions == 64
    assert 26 <= kept <= 36


def test_what_speaks_against_the_target_is_given_back_and_may_turn_the_decision():
    box = box_of(LEFT / 10 - (1 - LEFT) / 10, offset=1.0)
    before = answer_of(box, status=Status.NOT_FLIPPED)
    assert before.decision == 0
    found = trimmed(checker_of(box), before, IMAGE, 131)
    assert found.decision == 1
    assert found.status == Status.COMPLETE


def test_a_surer_answer_that_is_still_not_the_target_keeps_its_status():
    box = box_of(LEFT / 10 - (1 - LEFT) / 10, offset=50.0)
    before = answer_of(box, status=Status.BUDGET_EXHAUSTED)
    found = trimmed(checker_of(box), before, IMAGE, 131)
    assert odds_of(found) > odds_of(before)
    assert found.decision == 0
    assert found.status == Status.BUDGET_EXHAUSTED


@pytest.mark.parametrize("bend", [lambda odds: odds - 50 * (odds < 20.4), lambda odds: odds.sin()])
def test_no_answer_gets_less_sure_or_farther_away(bend):
    """A model that wants the whole change, and one whose answers say nothing of the parts."""
    box = box_of(torch.ones(1, SIDE, SIDE) / 10, bend=bend)
    before = answer_of(box)
    found = trimmed(checker_of(box), before, IMAGE, 43)
    assert odds_of(found) >= odds_of(before)
    assert (found.image - IMAGE).abs().mean() <= (before.image - IMAGE).abs().mean()
    assert box.queries <= 1 + 43


@pytest.mark.parametrize("queries", [11, 12, 30, 131, 400])
def test_it_costs_at_most_its_queries(queries):
    box = box_of(LEFT / 10)
    before = answer_of(box)
    trimmed(checker_of(box), before, IMAGE, queries)
    assert queries - 4 <= box.queries - 1 <= queries


def test_nothing_is_asked_without_the_queries_or_a_signal():
    box = box_of(LEFT / 10, budget=131)
    before = answer_of(box)
    assert trimmed(checker_of(box), before, IMAGE, 131) is before
    assert trimmed(checker_of(box), before, IMAGE, 0) is before
    box = box_of(LEFT / 10)
    silent = answer_of(box, status=Status.NO_SIGNAL)
    assert trimmed(checker_of(box), silent, IMAGE, 131) is silent
    assert box.queries == 1


def test_the_queries_of_trimming_are_kept_back_from_the_search(denoiser):
    """A search that takes all it gets leaves those for checks and for trimming."""
    weights = torch.zeros(SHAPE)
    weights[..., : SHAPE[-1] // 2] = 5
    image = torch.full(SHAPE, 0.4)

    def predict(images):
        odds = (images - image).flatten(1) @ weights.flatten() - 1
        return torch.stack([torch.zeros_like(odds), odds], dim=1)

    box = BlackBox(predict, budget=60)

    def search(wanted, trail):
        while box.remaining:
            box(torch.rand(1, *SHAPE, generator=torch.Generator().manual_seed(box.queries)))
        found = torch.full((1, *SHAPE), 0.6)
        return Candidates(found, found[None])

    rounds = [Round(search, checks=4)]
    (result,) = search_counterfactuals(rounds, box, denoiser, image, 1, trim=21, confidence=0.9, seed=0)
    assert 1 + (60 - 1 - 25) + 1 + 18 <= box.queries <= 60
    assert result.record["trimmed"]["regions"] == 9
    assert torch.equal(result.path[-1], result.image)
    assert len(result.path) == 2
    assert result.flipped


@pytest.mark.parametrize(("budget", "trims"), [(400, True), (399, False)])
def test_a_budget_that_is_too_small_for_a_search_goes_to_the_search_alone(denoiser, budget, trims):
    """The last calls are single checks either way. Trimming asks 62 at once before them."""
    calls = []

    def predict(images):
        calls.append(len(images))
        light = (images - 0.5).flatten(1).sum(dim=1)
        return torch.stack([-light, light], dim=1)

    search = {"queries": 400, "estimate": "cross_covariance", "trim": 66}
    explainer = FreeMCG(BlackBox(predict, budget=budget), denoiser, search=search)
    explainer.counterfactual(torch.full(SHAPE, 0.3), target=1)
    assert (62 in calls) == trims


def test_a_search_plans_its_trimming_within_its_queries():
    search = SharedSearch(queries=400, refresh=1, estimate="cross_covariance", trim=66)
    assert sum(search.calls) <= 400
    assert search.calls[-4:] == [63, 1, 1, 1]
    assert len(KEPT) == CHECKS_OF_TRIM
    assert (
        search.queries_per_gradient == SharedSearch(**{**dict(search), "queries": 334, "trim": 0}).queries_per_gradient
    )


@pytest.mark.parametrize(
    ("values", "word"), [({"trim": 10}, "at least 11"), ({"trim": 40, "copies": 2}, "search.copies")]
)
def test_what_cannot_trim_is_refused(values, word):
    with pytest.raises(ValueError, match=word):
        SharedSearch(queries=200, **values)
