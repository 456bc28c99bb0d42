"""The part that all counterfactual methods share: which candidates are asked about, and which is the answer."""

from __future__ import annotations

import pytest
import torch
from plane import SHAPE
from torch import Tensor

from freemcg import BlackBox
from freemcg.tasks.candidates import Candidates
from freemcg.tasks.counterfactual import search_counterfactuals
from freemcg.tasks.rounds import Round

GREY = torch.full(SHAPE, 102 / 255)
PATHS = 3


def image_of(*levels: float) -> Tensor:
    """Grey images `(N, 1, 4, 4)`. Each has one of the levels 0 to 255."""
    return torch.tensor(levels).reshape(-1, 1, 1, 1).expand(-1, *SHAPE) / 255


class Scale:
    """Answers by the mean level of an image, and remembers the levels it was asked about.

    Args:
        target: maps the level to the probability of class 1, the one that is sought.
    """

    def __init__(self, target) -> None:
        self.target, self.asked = target, []

    def __call__(self, images: Tensor) -> Tensor:
        levels = [round(each.mean().item() * 255, 3) for each in images]
        self.asked += levels
        chances = [self.target(level) for level in levels]
        return torch.tensor([[1 - chance, chance] for chance in chances]).log()


def check(target, levels, *, n=1, checks=99, likely=None, budget=None, search=None, denoiser, **settings):
    """The answers, and the levels that were asked about after the image."""
    scale, images = Scale(target), image_of(*levels)
    box = BlackBox(scale, "log_probabilities", budget=budget)
    found = Candidates(
        images,
        images.expand(PATHS, *images.shape),
        None if likely is None else torch.tensor(likely),
        **settings,
    )

    def searched(wanted, trail):
        assert wanted == 1
        assert trail is None
        if search is not None:
            search(box)
        return found

    answers = search_counterfactuals([Round(searched, checks)], box, denoiser, GREY, 1, n=n, confidence=0.9, seed=0)
    assert scale.asked[0] == 102
    assert {answer.queries for answer in answers} == {len(scale.asked)}
    return answers, scale.asked[1:]


def sure_above(level):
    return lambda each: 0.95 if each > level else 0.05


def test_candidates_are_asked_about_from_the_nearest_on_until_one_is_good(denoiser):
    (answer,), asked = check(sure_above(120), [190, 104, 130, 110, 140], denoiser=denoiser)
    assert asked == [104, 110, 130]
    assert answer.status == "complete"
    assert torch.equal(answer.image, image_of(130)[0])
    assert answer.l1 == pytest.approx(28 / 255)
    assert torch.equal(answer.path, image_of(130).expand(PATHS, *SHAPE))


def test_candidates_that_are_not_likely_come_last(denoiser):
    (answer,), asked = check(
        sure_above(105), [190, 104, 130, 110], likely=[True, True, False, False], denoiser=denoiser
    )
    assert asked == [104, 190]
    assert answer.flipped
    likely = [False, False, False, True]
    assert check(sure_above(120), [190, 104, 130, 110], likely=likely, denoiser=denoiser)[1] == [110, 104, 130]


@pytest.mark.parametrize("checks", [1, 2, 4, 5, 9])
def test_no_more_are_asked_about_than_checks(denoiser, checks):
    (answer,), asked = check(sure_above(250), [190, 104, 130, 110, 140], checks=checks, denoiser=denoiser)
    assert asked == [104, 110, 130, 140, 190][:checks]
    assert answer.status == "not_flipped"


def test_what_is_decided_without_confidence_is_better_than_nothing(denoiser):
    chances = {102: 0.1, 110: 0.6, 120: 0.8, 130: 0.2}
    (answer,), asked = check(chances.__getitem__, [130, 120, 110], denoiser=denoiser)
    assert asked == [110, 120, 130]
    assert (answer.status, answer.decision) == ("complete", 1)
    assert torch.equal(answer.image, image_of(120)[0])


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        ({}, "not_flipped"),
        ({"no_signal": True}, "no_signal"),
        ({"exhausted": True}, "budget_exhausted"),
        ({"budget": 3}, "budget_exhausted"),
        ({"budget": 4}, "not_flipped"),
    ],
)
def test_the_most_probable_is_returned_where_none_was_decided_so_and_the_status_says_why(denoiser, settings, status):
    chances = {102: 0.1, 110: 0.2, 120: 0.4, 130: 0.3}
    (answer,), asked = check(chances.__getitem__, [130, 120, 110], denoiser=denoiser, **settings)
    assert answer.status == status
    assert not answer.flipped
    assert torch.equal(answer.image, image_of(120)[0])
    assert asked[:2] == [110, 120]


def test_candidates_are_asked_about_as_a_file_holds_them(denoiser):
    (answer,), asked = check(sure_above(120), [130.4, 110.6], denoiser=denoiser)
    assert asked == [111, 130]
    assert torch.equal(answer.image, image_of(130)[0])
    torch.testing.assert_close(answer.path[-1], image_of(130.4)[0])


def test_several_are_far_from_one_another(denoiser):
    """The first is the nearest good one. Each next one is the farthest from the answers so far."""
    levels = [104, 110, 120, 150, 200, 112, 122, 180]
    answers, asked = check(sure_above(105), levels, n=4, denoiser=denoiser)
    assert asked == [104, 110, 200, 150, 180]
    assert [round(each.image.mean().item() * 255) for each in answers] == [110, 200, 150, 180]
    assert all(each.status == "complete" and each.flipped for each in answers)


def test_what_fails_does_not_count_as_an_answer_and_pushes_nothing_away(denoiser):
    only = {110: 0.95, 180: 0.95}
    answers, asked = check(lambda each: only.get(each, 0.05), [110, 150, 180, 200], n=3, denoiser=denoiser)
    assert asked == [110, 200, 180, 150]
    assert [round(each.image.mean().item() * 255) for each in answers] == [110, 180]


def test_several_where_none_is_decided_so_are_one_attempt(denoiser):
    answers, asked = check(sure_above(250), [110, 150, 180, 200], n=3, denoiser=denoiser)
    assert len(answers) == 1
    assert asked == [110, 150, 180, 200]
    assert answers[0].status == "not_flipped"


def test_checks_are_kept_back_from_the_search(denoiser):
    left = []
    check(
        sure_above(250),
        [110, 150, 180],
        checks=3,
        budget=20,
        search=lambda box: left.append(box.remaining),
        denoiser=denoiser,
    )
    assert left == [20 - 1 - 3]


def test_a_budget_for_the_image_alone_is_said_to_be_exhausted(denoiser):
    (answer,), asked = check(sure_above(120), [130], budget=1, denoiser=denoiser)
    assert asked == []
    assert (answer.status, answer.queries, answer.l1, answer.realism) == ("budget_exhausted", 1, 0, 1)
