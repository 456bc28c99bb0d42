"""The answers along the path of a counterfactual: which images are asked about, what that costs, what is kept."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from plane import SEARCH, SHAPE, Linear, make

from baselines import DiffusionGuided
from freemcg import BlackBox, Counterfactual, FreeMCG, PaperSearch, SharedSearch
from freemcg.blackbox.preparation import as_file
from freemcg.gradient.objective import label_log_odds, two_classes
from freemcg.jobs.plan import calls, most_queries
from freemcg.jobs.replay import differences, replay

TRIMMED = SharedSearch(**{**dict(SEARCH), "queries": 60, "particles": 9, "trim": 21, "confidence": 0.9})
SEARCHES = {"shared": SEARCH, "trimmed": TRIMMED, "paper": PaperSearch(particles=4, steps=6)}
PAID = {"shared": 8 - 1, "trimmed": 8 - 1, "paper": 6 - 1}  # the steps, of which the last was queried as a candidate


def answers_of(classifier, images):
    """What a linear classifier answers, in closed form."""
    return ((images - 0.5).flatten(1) @ classifier.weights.detach()).log_softmax(dim=1)


def found(denoiser, image, *, budget=None, target=0, box=None, **settings):
    return make(BlackBox(Linear().eval(), budget=budget) if box is None else box, denoiser, **settings).counterfactual(
        image, target
    )


@pytest.mark.parametrize("name", SEARCHES)
def test_they_are_the_answers_to_the_images_of_the_path_as_files_hold_them(denoiser, image, classifier, name):
    search = SEARCHES[name]
    without = found(denoiser, image, search=search)
    asked = found(denoiser, image, search=search, ask_path=True, box=BlackBox(classifier))
    wanted = answers_of(classifier, as_file(asked.path))
    torch.testing.assert_close(asked.path_log_probabilities, wanted)
    assert (wanted - answers_of(classifier, asked.path)).abs().max() > 1e-3  # the frames themselves are no 8-bit files
    assert torch.equal(asked.path_log_probabilities[-1], asked.log_probabilities)
    assert asked.queries == len(classifier.asked) == without.queries + PAID[name]
    assert asked.record["path_queries"] == PAID[name]
    assert ("trimmed" in asked.record) == (name == "trimmed")
    for field in fields(without):
        if field.name not in ("queries", "seconds", "record", "path_log_probabilities"):
            one, other = getattr(without, field.name), getattr(asked, field.name)
            assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
    assert without.path_log_probabilities is None
    assert "path_queries" not in without.record


def test_white_box_guidance_can_be_asked_alike(denoiser, image, classifier):
    method = DiffusionGuided(classifier, denoiser, search=SEARCH)
    without = method.counterfactual(image, 0)
    method.ask_path = True
    asked = method.counterfactual(image, 0)
    torch.testing.assert_close(asked.path_log_probabilities, answers_of(classifier, as_file(asked.path)))
    assert asked.queries == without.queries + SEARCH.steps - 1


@pytest.mark.parametrize(("spare", "asked"), [(7, True), (6, False), (0, False)])
def test_nothing_is_asked_with_fewer_queries_left_than_it_takes(denoiser, image, spare, asked):
    without = found(denoiser, image)
    box = BlackBox(Linear().eval(), budget=without.queries + spare)
    result = found(denoiser, image, ask_path=True, box=box)
    assert (result.path_log_probabilities is not None) == asked
    assert result.status == without.status
    assert box.queries == result.queries == without.queries + (7 if asked else 0)


@pytest.mark.parametrize(("spare", "asked"), [(7 + 4, True), (7 + 3, False)])
def test_the_queries_that_tell_a_changed_model_are_kept_and_come_last(denoiser, image, spare, asked):
    without = found(denoiser, image)
    box = BlackBox(Linear().eval(), may_change=True, budget=without.queries + spare)
    with box.recording() as receipt:
        result = found(denoiser, image, ask_path=True, box=box)
    assert (result.path_log_probabilities is not None) == asked
    sizes = [len(question.keys) for question in receipt.questions]
    assert sizes[-2:] == ([7, 1] if asked else [1, 1])
    assert receipt.questions[-1].keys == receipt.questions[0].keys


@pytest.mark.parametrize(("budget", "target"), [(None, 0), (1, None)])
def test_nothing_is_asked_where_nothing_was_searched(denoiser, image, classifier, budget, target):
    own = int(answers_of(classifier, image[None]).argmax())
    result = found(denoiser, image, budget=budget, target=own if target is not None else None, ask_path=True)
    assert result.status == ("budget_exhausted" if budget else "already_target")
    assert (result.queries, result.path_log_probabilities) == (1, None)


class Stutters:
    """A remote model that answers one image of a long question, and then spends its budget on retries."""

    identity, inner = "stutters", Linear().eval()

    def answers(self, images, charge):
        charge(len(images), False)
        yield 0, 1, self.inner(images[:1]).detach()
        if len(images) == 7:
            charge(10**6, True)
        if len(images) > 1:
            yield 1, len(images) - 1, self.inner(images[1:]).detach()


def test_a_budget_that_ends_in_retries_costs_no_result(denoiser, image):
    box = BlackBox(Stutters(), may_change=False, budget=1000)
    with box.recording() as receipt:
        result = found(denoiser, image, ask_path=True, box=box)
    assert result.path_log_probabilities is None
    assert result.queries == found(denoiser, image).queries + 1  # the one image that was answered
    assert not differences(result, replay(result, receipt, denoiser))


def test_several_each_have_the_answers_along_their_own_path(denoiser, image, classifier):
    search = SharedSearch(**{**dict(SEARCH), "queries": 40})
    box, again = BlackBox(Linear().eval()), make(classifier, denoiser, search=search, ask_path=True)
    without = make(box, denoiser, search=search).counterfactuals(image, 0, n=3)
    asked = again.counterfactuals(image, 0, n=3)
    assert len(asked) == len(without) == 3
    for each in asked:
        torch.testing.assert_close(each.path_log_probabilities, answers_of(classifier, as_file(each.path)))
        assert each.queries == without[0].queries + 3 * 7


def bright(images):
    return torch.stack([images.flatten(1).mean(dim=1), images.flatten(1)[:, :4].mean(dim=1)], dim=1)


def test_along_the_path_to_a_label_it_is_read_as_the_result_is(denoiser):
    box = BlackBox(lambda images: 8 * bright(images) - 4, "multi_label_logit", class_names=["light", "top"])
    result = found(denoiser, torch.full(SHAPE, 0.3), target="top", box=box, ask_path=True)
    odds = 8 * bright(as_file(result.path))[:, 1] - 4
    assert result.path_log_probabilities.shape == (8, 2)
    torch.testing.assert_close(result.path_log_probabilities, two_classes(odds), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(label_log_odds(result.path_log_probabilities[:, 1]), odds, atol=1e-3, rtol=1e-3)


def test_along_the_path_to_a_number_it_is_read_alike_also_if_the_answer_is_taken_back(denoiser):
    box = BlackBox(lambda images: bright(images)[:, :1] ** 4, "value")
    image = torch.full(SHAPE, 0.3)
    without = found(denoiser, image, target="0.012", box=box)
    result = found(denoiser, image, target="0.012", box=box, ask_path=True)
    assert result.flipped
    assert len(result.path) == 8 + 1  # taken back
    start = 0.3**4
    progress = (bright(as_file(result.path))[:, 0] ** 4 - start) / (0.012 - start)
    odds = (progress - 0.9) * 5 / 0.9
    rows = result.path_log_probabilities
    torch.testing.assert_close(rows[:, 1] - rows[:, 0], odds, atol=1e-3, rtol=1e-3)
    assert torch.equal(rows[-1], result.log_probabilities)
    assert result.queries == without.queries + 7
    explainer = make(box, denoiser, ask_path=True)
    most = most_queries(explainer.settings, "counterfactual", scores="value")
    assert most == sum(calls(explainer.settings, "counterfactual", scores="value")) == SEARCH.queries + 8 + 8
    assert result.queries <= most


@pytest.mark.parametrize(("spare", "asked"), [(8 + 7, True), (8 + 6, False)])
def test_the_queries_that_take_a_number_back_are_kept(denoiser, spare, asked):
    image, box = torch.full(SHAPE, 0.3), BlackBox(lambda images: bright(images)[:, :1], "value")
    without = found(denoiser, image, target="up:0.05", box=box)  # which is never taken back
    box = BlackBox(lambda images: bright(images)[:, :1], "value", budget=without.queries + spare)
    result = found(denoiser, image, target="up:0.05", box=box, ask_path=True)
    assert (result.path_log_probabilities is not None) == asked


def test_a_binary_model_has_its_two_classes_along_the_path(denoiser):
    box = BlackBox(lambda images: 8 * bright(images)[:, 0] - 4, "binary_logit")
    result = found(denoiser, torch.full(SHAPE, 0.3), target=1, box=box, ask_path=True)
    odds = 8 * bright(as_file(result.path))[:, 0] - 4
    torch.testing.assert_close(result.path_log_probabilities, two_classes(odds), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "spare"), [("shared", None), ("trimmed", None), ("paper", None), ("shared", 6), ("paper", 4)]
)
def test_a_result_with_its_path_is_replayed_to_the_last_bit_and_kept_in_its_file(
    denoiser, image, tmp_path, name, spare
):
    search = SEARCHES[name]
    budget = None if spare is None else found(denoiser, image, search=search).queries + spare
    box = BlackBox(Linear().eval(), budget=budget)
    with box.recording() as receipt:
        result = found(denoiser, image, ask_path=True, search=search, box=box)
    assert (result.path_log_probabilities is None) == (spare is not None)
    assert differences(result, replay(result, receipt, denoiser)) == []
    loaded = Counterfactual.load(result.save(tmp_path / "result.safetensors"))
    if spare is None:
        assert torch.equal(loaded.path_log_probabilities, result.path_log_probabilities)
        other = replace(result, path_log_probabilities=result.path_log_probabilities + 1e-6)
        assert differences(other, replay(result, receipt, denoiser)) == ["path_log_probabilities"]
    else:
        assert loaded.path_log_probabilities is None


@pytest.mark.parametrize("may_change", [False, True])
@pytest.mark.parametrize("name", SEARCHES)
def test_a_plan_grows_by_the_steps_and_is_never_passed(denoiser, image, name, may_change):
    steps = SEARCHES[name].steps + sum(later.steps for later in SEARCHES[name].later)
    for target in (0, 1, 2, None):
        box = BlackBox(Linear().eval(), may_change=may_change)
        explainer = FreeMCG(box, denoiser, search=SEARCHES[name], ask_path=True)
        explainer.counterfactual(image, target)
        assert box.queries <= most_queries(explainer.settings, "counterfactual", may_change=may_change)
    plain = explainer.settings.model_copy(update={"ask_path": False})
    for forecast in (most_queries, lambda *given, **named: sum(calls(*given, **named))):
        grown, before = (
            forecast(each, "counterfactual", may_change=may_change) for each in (explainer.settings, plain)
        )
        assert grown == before + steps
    assert most_queries(explainer.settings, "attribution") == most_queries(plain, "attribution")
