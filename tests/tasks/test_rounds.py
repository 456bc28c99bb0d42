"""The rounds of a search: where a later one begins, when it does not, and what the whole path is."""

from __future__ import annotations

import pytest
import torch
from plane import SHAPE
from test_counterfactual import GREY, Scale, image_of

from freemcg import BlackBox, FreeMCG, SharedSearch
from freemcg.gradient.objective import log_odds
from freemcg.jobs.replay import differences, replay
from freemcg.results import Status
from freemcg.tasks.candidates import Candidates
from freemcg.tasks.counterfactual import search_counterfactuals
from freemcg.tasks.rounds import Round
from freemcg.tasks.shared_search import shared_search

CHANCE = {102: 0.05, 110: 0.2, 120: 0.4, 130: 0.6, 135: 0.8, 140: 0.95}


def by_levels(denoiser, rounds, *, budget=None, anew=(), without_signal=()):
    """The answer, and the grey levels of the trail that each round began with. Every candidate comes from level 100."""
    box, trails = BlackBox(Scale(lambda level: CHANCE.get(level, 0.05)), "log_probabilities", budget=budget), []

    def searching(levels):
        def search(wanted, trail):
            trails.append(None if trail is None else [round(255 * each.mean().item()) for each in trail])
            images = image_of(*levels)
            path = [torch.full_like(images, 100 / 255), images]
            return Candidates(images, path, no_signal=len(trails) - 1 in without_signal, begun=trail)

        return search

    given = [
        Round(searching(levels), checks=9, goes_on=number > 0 and number not in anew)
        for number, levels in enumerate(rounds)
    ]
    (answer,) = search_counterfactuals(given, box, denoiser, GREY, 1, confidence=0.9, seed=0)
    return answer, trails


def test_a_later_round_begins_at_the_best_answer_so_far_and_the_path_is_whole(denoiser):
    answer, trails = by_levels(denoiser, [[110, 130, 120], [120, 135], [140]])
    assert trails == [None, [100, 130], [100, 130, 100, 135]]
    assert [round(255 * each.mean().item()) for each in answer.path] == [100, 130, 100, 135, 100, 140]
    assert answer.status == Status.COMPLETE


def test_a_later_round_that_makes_it_worse_is_forgotten(denoiser):
    answer, trails = by_levels(denoiser, [[130], [110], [120]])
    assert trails == [None, [100, 130], [100, 130]]
    assert round(255 * answer.image.mean().item()) == 130
    assert len(answer.path) == 2


def test_a_round_whose_answer_is_sure_is_the_last(denoiser):
    answer, trails = by_levels(denoiser, [[140], [130]])
    assert trails == [None]
    assert answer.queries == 2


def test_a_new_try_begins_at_the_input_and_its_rounds_go_on_from_its_own_answers(denoiser):
    answer, trails = by_levels(denoiser, [[130], [135], [110], [120]], anew=[2])
    assert trails == [None, [100, 130], None, [100, 110]]
    assert [round(255 * each.mean().item()) for each in answer.path] == [100, 130, 100, 135]


def test_a_later_round_without_signal_says_nothing_of_the_whole(denoiser):
    answer, trails = by_levels(denoiser, [[110], [120], [130]], without_signal=[1])
    assert (len(trails), answer.status) == (3, Status.COMPLETE)
    answer, trails = by_levels(denoiser, [[110], [120], [110]], without_signal=[1])
    assert (len(trails), answer.status) == (3, Status.NOT_FLIPPED)
    answer, trails = by_levels(denoiser, [[110], [120]], without_signal=[0, 1])
    assert (len(trails), answer.status) == (1, Status.NO_SIGNAL)


def test_no_round_begins_without_a_query_left(denoiser):
    answer, trails = by_levels(denoiser, [[130], [140]], budget=2)
    assert (len(trails), round(255 * answer.image.mean().item())) == (1, 130)


def dim(images):
    """Two classes. The second one is far from grey."""
    light = (images.flatten(1) - 0.4) @ torch.linspace(-1, 1, 16)
    return torch.stack([torch.zeros(len(images)), 5 * (light - 0.6)], dim=1)


@pytest.mark.parametrize("guidance", [0.05, 0.2])
def test_more_rounds_cost_no_more_than_is_said_and_end_with_the_best_of_all(denoiser, guidance):
    fixed = {"queries": 61, "particles": 4, "steps": 9, "refresh": 4, "unpaid": 16, "guidance": guidance}
    for rounds in (1, 2, 3):
        search, box = SharedSearch(**fixed, rounds=rounds), BlackBox(dim)
        with box.recording() as receipt:
            result = FreeMCG(box, denoiser, search=search).counterfactual(GREY, 1)
        assert result.target_probability < 0.999
        assert result.queries == box.queries <= sum(search.calls) <= 61
        assert len(result.path) in (9, 12, 15)
        assert (result.path[-1] - result.image).abs().max() <= 0.5001 / 255
        assert differences(result, replay(result, receipt, denoiser)) == []


def test_a_second_round_is_guided_to_the_input_that_was_given_and_not_to_where_it_began(denoiser):
    """With nothing but the pull, a second round comes back."""
    far = torch.full(SHAPE, 0.9)
    search = SharedSearch(queries=17, particles=4, steps=9, refresh=9, unpaid=16, guidance=0.0, strength=0.3)
    box = BlackBox(dim)

    def distance(proximity: float) -> float:
        moved = search.model_copy(update={"proximity": proximity})
        found = shared_search(box, denoiser, GREY, 1, log_odds, moved, seed=0, begun=far[None])
        assert torch.equal(found.trail(0)[0], far)
        return (found.images - GREY).abs().mean().item()

    assert distance(0.3) < 0.9 * distance(0.0)
