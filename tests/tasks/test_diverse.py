"""Several counterfactuals of one image, for images whose denoiser is known exactly."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from plane import make

from freemcg import BlackBox, FreeMCG, PaperSearch, SharedSearch
from freemcg.blackbox.preparation import as_file
from freemcg.gradient.objective import log_odds
from freemcg.tasks.shared_search import shared_search

SEARCH = SharedSearch(
    queries=30, particles=3, steps=8, refresh=4, unpaid=32, strength=0.4, guidance=0.3, spread=1.8, confidence=0.99
)


def spread(images):
    """The mean absolute difference of a pixel, for each pair."""
    return torch.stack([(first - second).abs().mean() for first, second in combinations(images, 2)])


@pytest.fixture
def explain(classifier, denoiser):
    return lambda **settings: make(classifier, denoiser, **{"search": SEARCH, **settings})


@pytest.mark.parametrize("n", [1, 2, 4, 6])
@pytest.mark.parametrize("seed", [0, 1])
def test_each_is_valid_and_all_cost_hardly_more_than_one(explain, classifier, image, n, seed):
    results = explain(seed=seed).counterfactuals(image, n=n)
    asked = list(classifier.asked)
    runner_up = int(classifier(image[None])[0].argsort(descending=True)[1])
    assert len(results) == n or len(asked) == SEARCH.queries + 2 * n
    for result in results:
        assert (result.status, result.decision, result.target) == ("complete", runner_up, runner_up)
        answer = classifier(result.image[None])[0].softmax(0)
        assert answer[runner_up] >= SEARCH.confidence
        assert result.target_probability == pytest.approx(answer[runner_up].item(), abs=1e-5)
        assert result.queries == len(asked) <= SEARCH.queries + 2 * n
        assert any(torch.equal(result.image, each) for each in asked)
        assert result.l1 == pytest.approx((result.image - image).abs().mean().item())
        torch.testing.assert_close(as_file(result.path[-1]), result.image)
    assert len({each.image.numpy().tobytes() for each in results}) == len(results)


@pytest.mark.parametrize("n", [2, 4])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_they_are_farther_apart_than_the_nearest_candidates(explain, classifier, denoiser, image, n, seed):
    results = explain(seed=seed).counterfactuals(image, n=n)
    search = SEARCH.model_copy(update={"particles": 8 * n})
    found = shared_search(BlackBox(classifier), denoiser, image, results[0].target, log_odds, search, seed=seed)
    candidates = as_file(found.images)
    sure = classifier(candidates).softmax(1)[:, results[0].target] >= SEARCH.confidence
    good = candidates[sure]
    assert len(good) > n
    nearest = good[(good - image).abs().flatten(1).mean(dim=1).argsort()[:n]]
    torch.testing.assert_close(results[0].image, nearest[0], rtol=0, atol=0)
    chosen = spread([each.image for each in results])
    assert chosen.mean() > 1.15 * spread(nearest).mean()
    assert chosen.min() > spread(nearest).min()


def test_one_of_one_is_valid(explain, image):
    (result,) = explain().counterfactuals(image, n=1)
    assert result.flipped
    assert result.status == "complete"


def test_fewer_come_back_where_fewer_are_valid(denoiser, image):
    """Only a thin slice is decided as the class sought, and few candidates lie in it."""

    def sliced(images):
        light = (images - image).flatten(1).mean(dim=1)
        inside = 40 * (1 - ((light - 0.03) / 0.012).square()).clamp(min=-3)
        return torch.stack([torch.zeros_like(inside), inside], dim=1)

    explainer = make(sliced, denoiser, search=SEARCH)
    results = explainer.counterfactuals(image, 1, n=6)
    assert 1 <= len(results) < 6
    assert all(result.flipped for result in results)
    assert explainer.black_box.queries == results[0].queries <= SEARCH.queries + 12


def test_where_none_is_valid_the_best_attempt_comes_back_alone(denoiser, image):
    unreachable = lambda x: torch.stack([x.new_full((len(x),), 9.0), x.mean(dim=(1, 2, 3))], dim=1)  # noqa: E731
    explainer = make(unreachable, denoiser, search=SEARCH)
    (result,) = explainer.counterfactuals(image, n=3)
    assert (result.status, result.flipped) == ("not_flipped", False)
    assert explainer.black_box.queries == result.queries <= SEARCH.queries + 6


@pytest.mark.parametrize("budget", [1, 5, 20, 30, 36, 60])
def test_the_budget_of_the_black_box_is_never_passed(explain, classifier, image, budget):
    results = explain(budget=budget).counterfactuals(image, n=3)
    assert len(classifier.asked) == results[0].queries <= budget
    assert 1 <= len(results) <= 3
    assert all(result.flipped for result in results) or [each.status for each in results] == ["budget_exhausted"]
    if budget >= SEARCH.queries + 2 * 3:
        assert len(results) == 3


def test_a_class_that_is_already_decided_costs_one_query(explain, classifier, image):
    decision = int(classifier(image[None]).argmax())
    classifier.asked.clear()
    (result,) = explain().counterfactuals(image, decision)
    assert (result.status, result.queries, result.l1) == ("already_target", 1, 0)
    assert len(classifier.asked) == 1


def test_the_settings_are_left_alone_and_the_seed_decides(explain, image):
    explainer = explain(seed=3)
    first = explainer.counterfactuals(image, n=2)
    assert explainer.settings.search == SEARCH
    again, other = explain(seed=3).counterfactuals(image, n=2), explain(seed=4).counterfactuals(image, n=2)
    assert all(torch.equal(a.image, b.image) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0].image, other[0].image)


@pytest.mark.parametrize(
    ("n", "message"),
    [
        (0, "n must be >= 1, got 0"),
        (-2, "n must be >= 1, got -2"),
        (10**9, "n must be <= 1000, got 1000000000"),
    ],
)
def test_a_number_of_counterfactuals_that_cannot_be_is_refused(explain, classifier, image, n, message):
    with pytest.raises(ValueError) as caught:
        explain().counterfactuals(image, n=n)
    assert str(caught.value) == message
    assert not classifier.asked


def test_the_search_of_the_paper_is_refused(explain, classifier, image):
    with pytest.raises(ValueError) as caught:
        explain(search=PaperSearch(particles=3, steps=4)).counterfactuals(image)
    assert str(caught.value) == "the paper's search finds one counterfactual; several need search.method 'shared'"
    assert not classifier.asked


def test_bad_input_costs_nothing(classifier, denoiser, image):
    explainer = FreeMCG(BlackBox(classifier, num_classes=3), denoiser, search=SEARCH)
    with pytest.raises(ValueError, match=r"^there is no class 3; classes are 0\.\.2$"):
        explainer.counterfactuals(image, 3)
    with pytest.raises(ValueError, match=r"^images are 3x4 but the denoiser"):
        explainer.counterfactuals(image[:, :3])
    assert not classifier.asked


def test_several_share_one_round_which_has_what_one_that_is_alone_has(explain, image):
    """A second round would go on from one answer. What nobody named is what a search of one round has."""
    for named in ({}, {"spread": 1.1}):
        search = {"queries": 50, "particles": 3, "steps": 8, "refresh": 4, "unpaid": 16, "strength": 0.4, **named}
        settled = explain(search=search).counterfactuals(image, n=2)[0].record["settings"]["search"]
        assert settled["rounds"] == 1
        assert settled["spread"] == named.get("spread", 1.8)
        assert explain(search=search).counterfactual(image).record["settings"]["search"]["rounds"] == 2
