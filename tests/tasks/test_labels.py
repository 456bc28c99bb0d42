"""Counterfactuals of a black box that answers bare labels: their settings, their answers and their costs."""

from __future__ import annotations

import math
import re

import pytest
import torch
from diffusers import DDPMScheduler
from plane import SHAPE
from torch import Tensor

from freemcg import BlackBox, Denoiser, FreeMCG, PaperSearch, SharedSearch
from freemcg.blackbox.preparation import as_file
from freemcg.diffusion.particles import draw_particles
from freemcg.settings import SEARCHES_BY_SCORES
from freemcg.tasks.candidates import Candidates
from freemcg.tasks.checks import COPIES_NOISE
from freemcg.tasks.counterfactual import search_counterfactuals
from freemcg.tasks.rounds import Round
from freemcg.tasks.runner_up import RUNNER_UP_QUERIES

GREY = torch.full(SHAPE, 102 / 255)
LABEL_SEARCH = SEARCHES_BY_SCORES["label"]
NORMAL = torch.distributions.Normal(0.0, 1.0)
SMALL = {"queries": 90, "particles": 4, "steps": 8, "refresh": 4, "guidance": 0.3}


class Labels:
    """Names the greatest of three linear scores, and remembers what it was asked about."""

    def __init__(self) -> None:
        self.weights = torch.randn(16, 3, generator=torch.Generator().manual_seed(3))
        self.asked: list[Tensor] = []

    def __call__(self, images: Tensor) -> Tensor:
        self.asked.extend(images)
        return ((images - 0.5).flatten(1) @ self.weights).argmax(dim=1)

    @property
    def box(self) -> BlackBox:
        return BlackBox(self, "label", num_classes=3)


# --- settings ---


def test_a_search_on_partial_answers_has_defaults_of_its_own(denoiser):
    for search in (None, {}, {"method": "shared"}):
        assert FreeMCG(Labels().box, denoiser, search=search).settings.search == SharedSearch(**LABEL_SEARCH)
    given = FreeMCG(Labels().box, denoiser, search={"queries": 77, "copies": 0}).settings.search
    assert given == SharedSearch(**{**LABEL_SEARCH, "queries": 77, "copies": 0})
    top = BlackBox(Labels(), "top_k", num_classes=9)
    search = FreeMCG(top, denoiser, search={"steps": 12}).settings.search
    assert search.settled(9.0, top.scores) == SharedSearch(queries=100, steps=12)
    scores = BlackBox(lambda images: images.flatten(1)[:, :3])
    assert FreeMCG(scores, denoiser).settings.search == SharedSearch()


@pytest.mark.parametrize("search", [SharedSearch(), PaperSearch()])
def test_a_search_that_was_made_is_left_as_it_is(denoiser, search):
    assert FreeMCG(Labels().box, denoiser, search=search).settings.search == search
    assert FreeMCG(Labels().box, denoiser, search={"method": "paper"}).settings.search == PaperSearch()


def test_an_attribution_of_labels_is_by_cross_covariance(denoiser):
    assert FreeMCG(Labels().box, denoiser).settings.estimate == "cross_covariance"
    assert FreeMCG(Labels().box, denoiser, estimate="regression").settings.estimate == "regression"
    assert FreeMCG(Labels().box, denoiser, estimate="control_variate").settings.estimate == "control_variate"


@pytest.mark.parametrize("queries", [20, 50, 90, 200, 1000])
@pytest.mark.parametrize("particles", [1, 8, 40])
@pytest.mark.parametrize("copies", [1, 8])
def test_copies_are_paid_from_the_same_queries(queries, particles, copies):
    search = SharedSearch(queries=queries, particles=particles, copies=copies)
    spent = 1 + search.gradients * search.queries_per_gradient + search.checks
    assert spent <= queries
    least = min(particles * (1 + copies), queries // 3)
    assert least <= search.checks <= (particles + 1) * (1 + copies)


# --- copies ---


@pytest.fixture
def even(gaussian_network) -> Denoiser:
    """A denoiser that is exact for independent pixels of mean 1/2 and standard deviation 1/2."""
    scheduler = DDPMScheduler()
    network = gaussian_network(torch.zeros(SHAPE, dtype=torch.double), torch.eye(16, dtype=torch.double), scheduler)
    return Denoiser(network.float(), scheduler)


def share_of_copies_above(denoiser: Denoiser, level: float, threshold: float) -> float:
    """The share of copies of a grey image whose mean level is above the threshold, in closed form.

    A copy is `1/2 + abar (u + eps sqrt((1 - abar) / abar) / 2)` for an image that is `u` above 1/2. The mean of 16
    pixels has a quarter of the noise.
    """
    abar = denoiser.alphas_cumprod[denoiser.timestep(COPIES_NOISE)].item()
    mean = 0.5 + abar * (level - 0.5)
    noise = abar * math.sqrt((1 - abar) / abar) / 2 / 4
    return NORMAL.cdf(torch.tensor((mean - threshold) / noise)).item()


def check(denoiser, levels, *, threshold=0.55, checks=9999, copies=8, confidence=0.75, budget=None):
    asked: list[int] = []

    def label(images: Tensor) -> Tensor:
        asked.append(len(images))
        return (images.flatten(1).mean(dim=1) > threshold).long()

    images = torch.tensor(levels).reshape(-1, 1, 1, 1).expand(-1, *SHAPE)
    found = Candidates(images, images[None])
    (answer,) = search_counterfactuals(
        [Round(lambda target, trail: found, checks)],
        BlackBox(label, "label", num_classes=2, batch_size=10_000, budget=budget),
        denoiser,
        GREY,
        1,
        copies=copies,
        confidence=confidence,
        seed=0,
    )
    return answer, asked[1:]


def test_the_nearest_whose_copies_keep_the_label_is_the_answer(even):
    shallow, deep, far = 0.6, 0.95, 1.0
    assert share_of_copies_above(even, shallow, 0.52) < 0.5
    assert share_of_copies_above(even, deep, 0.52) > 0.9
    answer, asked = check(even, [far, 0.5, shallow, deep], threshold=0.52, copies=64)
    assert torch.equal(answer.image, as_file(torch.full(SHAPE, deep)))
    assert asked == [1, 1, 64, 1, 64]  # 0.5 is not decided as the target, so its copies are not asked about
    assert answer.queries == 1 + sum(asked)
    assert (answer.status, answer.flipped) == ("complete", True)


@pytest.mark.parametrize("threshold", [0.5, 0.53, 0.56])
def test_the_confidence_is_the_share_of_copies_in_closed_form(even, threshold):
    """A candidate is good enough for a confidence just below that share, but not for one just above it."""
    level, copies = 0.8, 2000
    share = share_of_copies_above(even, level, threshold)
    assert 0.2 < share < 0.99
    for confidence, good in ((0.99 * share - 0.03, True), (0.99 * share + 0.03, False)):
        answer, asked = check(even, [level, 1.0], threshold=threshold, copies=copies, confidence=confidence)
        assert (len(asked) == 2) == good
        assert answer.flipped


def test_the_image_itself_counts_as_one_of_its_copies(even):
    """The only copy loses the label, so the confidence is the mean of 0.99 and 0.01."""
    assert check(even, [0.97, 1.0], threshold=0.95, copies=1, confidence=0.49)[1] == [1, 1]
    assert check(even, [0.97, 1.0], threshold=0.95, copies=1, confidence=0.51)[1] == [1, 1, 1, 1]


def test_where_no_copies_keep_it_often_enough_the_best_is_returned(even):
    answer, asked = check(even, [0.6, 0.9, 0.56], copies=200, confidence=0.98)
    assert asked == [1, 200] * 3
    assert torch.equal(answer.image, as_file(torch.full(SHAPE, 0.9)))
    assert answer.status == "complete"


@pytest.mark.parametrize(("checks", "asks"), [(1, [1]), (8, [1]), (9, [1, 8]), (10, [1, 8, 1]), (18, [1, 8, 1, 8])])
@pytest.mark.parametrize("by_box", [False, True])
def test_checks_and_budgets_bound_the_copies_too(even, checks, asks, by_box):
    bounds = {"budget": 1 + checks} if by_box else {"checks": checks}
    answer, asked = check(even, [0.6, 0.62, 0.64], confidence=0.98, **bounds)
    assert asked == asks
    assert answer.flipped


# --- the search ---


@pytest.mark.parametrize("seed", range(4))
def test_a_counterfactual_is_found_from_labels_alone_within_its_queries(denoiser, image, seed):
    labels = Labels()
    decision = int(labels(image[None]))
    for target in range(3):
        if target != decision:
            labels.asked.clear()
            result = FreeMCG(labels.box, denoiser, search=SMALL, seed=seed).counterfactual(image, target)
            assert result.flipped
            assert result.status == "complete"
            assert result.queries == len(labels.asked) <= 90


def test_the_runner_up_of_a_label_is_what_particles_are_called_most_often(denoiser, image):
    labels = Labels()
    decision = int(labels(image[None]))
    particles = draw_particles(denoiser, image, denoiser.timestep(0.6), RUNNER_UP_QUERIES, seed=5)
    counts = labels(particles).bincount(minlength=3)
    counts[decision] = 0
    assert counts.max() > counts.sum() - counts.max() > 0
    labels.asked.clear()
    result = FreeMCG(labels.box, denoiser, search=SMALL, seed=5).counterfactual(image)
    assert result.target == int(counts.argmax())
    assert result.queries == len(labels.asked) <= 90
    assert torch.equal(torch.stack(labels.asked[1 : 1 + RUNNER_UP_QUERIES]), particles)


def test_of_two_labels_the_other_is_the_runner_up_at_no_cost(denoiser, image):
    box = BlackBox(lambda images: torch.zeros(len(images)), "label", num_classes=2)
    result = FreeMCG(box, denoiser, search=SMALL).counterfactual(image)
    assert (result.target, result.status) == (1, "no_signal")


@pytest.mark.parametrize(("budget", "queries", "status"), [(None, 33, "no_signal"), (1, 1, "budget_exhausted")])
def test_without_another_label_there_is_no_runner_up(denoiser, image, budget, queries, status):
    box = BlackBox(lambda images: torch.ones(len(images)), "label", num_classes=3, budget=budget)
    result = FreeMCG(box, denoiser, search=SMALL).counterfactual(image)
    assert (result.status, result.queries, result.l1) == (status, queries, 0)
    assert not result.flipped


class Silent:
    """A remote model that first answers label 0. From the second request on it answers only 2, for image `told`."""

    identity = "silent"

    def __init__(self, told):
        self.told, self.calls = told, 0

    def answers(self, images, charge):
        self.calls += 1
        charge(len(images), False)
        if self.calls == 1:
            yield 0, len(images), torch.zeros(len(images))
        else:
            if self.told is not None and self.told < len(images):
                yield self.told, 1, torch.tensor([2.0])
            charge(10**6, True)


@pytest.mark.parametrize(("told", "target"), [(4, 2), (None, None)])
def test_a_runner_up_is_told_by_what_was_answered_before_retries_ended_the_budget(denoiser, image, told, target):
    box = BlackBox(Silent(told), "label", num_classes=3, budget=1000, may_change=False)
    result = FreeMCG(box, denoiser, search=SMALL).counterfactual(image)
    assert result.status == "budget_exhausted"
    assert not result.flipped
    assert target is None or result.target == target
    assert (box.queries == 33) == (told is None)  # without a target, nothing more is asked


def test_a_search_too_small_for_a_runner_up_is_refused(denoiser, image):
    labels = Labels()
    message = re.escape(
        "search.queries of 40 is too small; to find a runner-up from labels takes 32 of them; raise it, or name the "
        "target"
    )
    with pytest.raises(ValueError, match=f"^{message}$"):
        FreeMCG(labels.box, denoiser, search={"queries": 40}).counterfactual(image)
    assert labels.asked == []


def test_a_target_that_no_label_names_is_no_signal(denoiser, image):
    box = BlackBox(lambda images: torch.zeros(len(images)), "label", num_classes=3)
    result = FreeMCG(box, denoiser, search=SMALL).counterfactual(image, 2)
    assert result.status == "no_signal"
    assert not result.flipped


def test_several_from_labels_keep_to_their_price(denoiser, image):
    labels = Labels()
    results = FreeMCG(labels.box, denoiser, search=SMALL).counterfactuals(image, n=2)
    assert len(labels.asked) == results[0].queries <= 90 + 2 * 2 * (1 + LABEL_SEARCH["copies"])
    assert all(result.flipped for result in results)
