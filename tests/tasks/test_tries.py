"""Several tries of one counterfactual: a further search begins only if those before it are not good enough."""

from __future__ import annotations

import pytest
import torch
from plane import SHAPE
from test_counterfactual import GREY, Scale, image_of

from freemcg import BlackBox, FreeMCG, SharedSearch
from freemcg.results import Status
from freemcg.tasks.candidates import Candidates
from freemcg.tasks.counterfactual import search_counterfactuals
from freemcg.tasks.rounds import Round

CHANCE = {102: 0.05, 110: 0.2, 120: 0.4, 130: 0.6, 140: 0.95}


def try_each(denoiser, tries, *, budget=None, asked_by_each=0, **found):
    """The answer, its status, and how many searches began. Each try finds images of the given levels."""
    box, begun = BlackBox(Scale(lambda level: CHANCE.get(level, 0.05)), "log_probabilities", budget=budget), []

    def searching(levels):
        def search(wanted, trail):
            assert trail is None
            begun.append(levels)
            if asked_by_each:
                box(torch.rand(asked_by_each, *SHAPE, generator=torch.Generator().manual_seed(len(begun))))
            images = image_of(*levels)
            return Candidates(images, images[None], **found)

        return search

    rounds = [Round(searching(levels), checks=9) for levels in tries]
    (answer,) = search_counterfactuals(rounds, box, denoiser, GREY, 1, confidence=0.9, seed=0)
    assert answer.queries == box.queries
    return round(answer.image.mean().item() * 255), answer.status, len(begun)


@pytest.mark.parametrize(
    ("tries", "expected"),
    [
        ([[110, 140], [140]], (140, Status.COMPLETE, 1)),
        ([[110, 130], [140]], (140, Status.COMPLETE, 2)),  # decided, but less surely than was wanted
        ([[130], [120]], (130, Status.COMPLETE, 2)),
        ([[110], [140], [130]], (140, Status.COMPLETE, 2)),
        ([[120], [110]], (120, Status.NOT_FLIPPED, 2)),
        ([[110], [120]], (120, Status.NOT_FLIPPED, 2)),
        ([[110]], (110, Status.NOT_FLIPPED, 1)),
    ],
)
def test_the_next_try_begins_only_if_none_before_is_good_and_the_best_attempt_is_kept(denoiser, tries, expected):
    assert try_each(denoiser, tries) == expected


def test_a_black_box_that_always_answers_alike_is_not_tried_again(denoiser):
    assert try_each(denoiser, [[110], [140]], no_signal=True) == (110, Status.NO_SIGNAL, 1)


def test_a_budget_that_ends_before_the_last_try_is_said(denoiser):
    assert try_each(denoiser, [[110], [140]], budget=2) == (110, Status.BUDGET_EXHAUSTED, 1)
    assert try_each(denoiser, [[110], [120]], budget=3) == (120, Status.NOT_FLIPPED, 2)
    assert try_each(denoiser, [[110], [140]], exhausted=True) == (110, Status.BUDGET_EXHAUSTED, 1)
    assert try_each(denoiser, [[130], [140]], budget=2) == (130, Status.COMPLETE, 1)  # it is decided as the target


def test_tries_share_the_queries_and_no_try_can_pass_its_share(denoiser):
    for queries, tries in ((800, 2), (801, 2), (90, 3), (50, 1)):
        search = SharedSearch(queries=queries, tries=tries, refresh=2 if queries > 99 else 6, rounds=1)
        one = search.gradients * search.queries_per_gradient + search.checks
        assert one <= search.queries_of_a_try == (queries - 1) // tries
        assert sum(search.calls) == 1 + tries * one <= queries


def test_a_second_try_is_what_the_next_seed_finds(denoiser):
    """The search is so weak that it fails, and the class so far away. Both tries spend what they may."""

    def far(images):
        return torch.stack([torch.zeros(len(images)), images.flatten(1).mean(dim=1) - 9], dim=1)

    fixed = {"rounds": 1, "particles": 2, "steps": 6, "refresh": 3, "unpaid": 16, "guidance": 0.01}
    alone = [
        FreeMCG(BlackBox(far), denoiser, seed=seed, search={"queries": 21, "tries": 1, **fixed}).counterfactual(GREY)
        for seed in (4, 5)
    ]
    best = max(alone, key=lambda result: result.log_probabilities[1].item())
    both = FreeMCG(BlackBox(far), denoiser, seed=4, search={"queries": 41, "tries": 2, **fixed}).counterfactual(GREY)
    assert torch.equal(both.image, best.image)
    assert both.status == Status.NOT_FLIPPED
    assert both.queries == sum(result.queries for result in alone) - 1
