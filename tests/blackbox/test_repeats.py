from __future__ import annotations

import misbehaving_server
import pytest
import torch
from asking import asking
from plane import SEARCH, Linear, make

from freemcg import BlackBox, FreeMCG
from freemcg.blackbox import QueryCache
from freemcg.blackbox.repeats import MOST_REPEATS, Repeats, ask_again
from freemcg.ensemble import control_variate, cross_covariance, linear_model, principal_axes, sigma_points


class Changing:
    """Answers as another model from some query on. `noise` is added to the logits."""

    identity = "changing"

    def __init__(self, at=10**9, by=0.05, noise=0.0):
        self.inner, self.at, self.by, self.noise = Linear().eval(), at, by, noise
        self.asked, self.answered = [], []
        self.generator = torch.Generator().manual_seed(1)

    def __call__(self, images):
        rows = []
        for logits in self.inner(images).detach():
            shift = self.by if len(self.asked) + len(rows) >= self.at else 0.0
            noise = self.noise * torch.randn(3, generator=self.generator)
            rows.append(logits + noise + torch.tensor([shift, 0, 0]))
        self.asked += list(images)
        self.answered += rows
        return torch.stack(rows)


def explainer(model, denoiser, **options):
    settings = {"particles": 64, "queries": 17, "search": SEARCH}
    return FreeMCG(BlackBox(model, **{"may_change": True, **options}), denoiser, **settings)


def repeats(*probabilities):
    return Repeats(torch.tensor(probabilities), len(probabilities) - 1)


def test_it_costs_one_query_where_nothing_changed_and_is_about_the_image(denoiser, image):
    for task, beside in (("explain", 1 + 16), ("counterfactual", None)):
        model = Changing()
        result = getattr(explainer(model, denoiser), task)(image)
        assert result.status != "model_changed"
        assert len(model.asked) == result.queries
        assert torch.equal(model.asked[-1], image)
        fixed = Changing()
        without = getattr(explainer(fixed, denoiser, may_change=False), task)(image)
        assert result.queries == without.queries + 1
        assert beside in (None, without.queries)
        assert without.status == result.status


@pytest.mark.parametrize("at", [1, 5, 9])
@pytest.mark.parametrize("task", ["explain", "counterfactual", "contrasts", "stream"])
def test_a_model_that_changes_half_way_marks_the_result(denoiser, image, task, at):
    model = Changing(at)
    found = explainer(model, denoiser, num_classes=3)
    if task == "contrasts":
        results = list(found.contrasts(image).values())
    elif task == "stream":
        results = list(found.stream(image, tolerance=1e-9, queries=50))[-1:]
    else:
        results = [getattr(found, task)(image)]
    assert {each.status for each in results} == {"model_changed"}
    assert results[0].queries == len(model.asked)
    assert torch.equal(torch.stack(model.asked[-MOST_REPEATS:]), image.expand(MOST_REPEATS, -1, -1, -1))


@pytest.mark.parametrize("changing", ["both", "this", "other", "none"])
def test_a_difference_is_marked_where_either_model_changed(denoiser, image, changing):
    models = [Changing(9 if changing in (name, "both") else 10**9) for name in ("this", "other")]
    other = BlackBox(models[1], may_change=True)
    result = explainer(models[0], denoiser).difference(other, image)
    assert result.status == ("no_signal" if changing == "none" else "model_changed")  # the two answer alike
    assert result.queries == len(models[0].asked)
    assert [len(model.asked) for model in models] == [
        1 + 16 + (MOST_REPEATS if changing in (name, "both") else 1) for name in ("this", "other")
    ]


def test_by_default_only_a_remote_model_is_asked_again(denoiser, image):
    assert BlackBox(Changing()).may_change is False
    assert BlackBox(Linear().eval()).may_change is False
    assert make(Changing(9), denoiser).explain(image).status == "complete"
    assert asking("http://127.0.0.1:1/").may_change is True


def test_a_served_model_that_changes(denoiser, image):
    with misbehaving_server.running() as server:
        for script, status in (("ok", "complete"), ("ok+ok+ok+ok+ok+turned", "model_changed")):
            url = server.url(status, script)
            found = FreeMCG(asking(url, concurrency=1), denoiser, particles=64, queries=17)
            assert found.explain(image).status == status
            asked = [len(levels) for _, _, levels, _, _ in server.log(status)]
            assert sum(asked) == found.black_box.queries
            assert asked[-2:] == ([1, 3] if status == "model_changed" else [asked[-2], 1])


def test_what_is_all_known_is_not_asked_about(denoiser, image, tmp_path):
    cache = QueryCache(tmp_path / "answers.sqlite")
    first = explainer(Changing(), denoiser, cache=cache)
    assert first.explain(image).queries == 18
    assert cache.models()[0].answers == 17  # repeats bypass the cache and are not kept in it
    model = Changing(at=0)
    assert explainer(model, denoiser, cache=cache).explain(image).status == "complete"
    assert model.asked == []


def test_answers_in_the_cache_of_a_model_that_changed_since(denoiser, image, tmp_path):
    cache = QueryCache(tmp_path / "answers.sqlite")
    explainer(Changing(), denoiser, cache=cache, budget=9).explain(image)
    assert explainer(Changing(at=0), denoiser, cache=cache).explain(image).status == "model_changed"


@pytest.mark.parametrize(("left", "queries"), [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (9, 4)])
def test_the_budget_is_not_passed(image, left, queries):
    black_box = BlackBox(Changing(at=1), may_change=True, budget=1 + left)
    first = black_box(image[None])[0]
    found = ask_again(black_box, image, first, since=0)
    assert found.queries == queries == black_box.queries - 1
    assert found.changed == (queries >= 2)


def test_what_is_a_change_and_what_is_noise():
    same, other = (0.6, 0.3, 0.1), (0.59, 0.31, 0.1)
    assert repeats(same, same).alike
    assert not repeats(same, same).changed
    assert not repeats(same, (0.60005, 0.29995, 0.1)).changed
    assert not repeats(same, other).changed  # it may be noise or a change; two repeats would tell
    assert repeats(same, other, other).changed
    assert not repeats(same, other, (0.58, 0.32, 0.1), (0.6, 0.3, 0.1), (0.61, 0.29, 0.1)).changed
    far = [(0.3 + each, 0.6 - each, 0.1) for each in (0.0, 0.01, -0.01, 0.005)]
    assert repeats(same, *far).changed
    assert not repeats(same, *far[:3]).changed


def test_noise_alone_is_hardly_ever_taken_for_a_change():
    """Two classes are the worst case: it happens once in 800 times, so 6 times here."""
    generator = torch.Generator().manual_seed(0)
    level = 0.5 + 0.01 * torch.randn(4800, 5, generator=generator)
    found = [Repeats(torch.stack([row, 1 - row], dim=1), 4).changed for row in level]
    assert 0 < sum(found) <= 14


def test_a_model_that_does_not_repeat_is_not_taken_for_one_that_changed(denoiser, image):
    model = Changing(noise=0.3)
    result = explainer(model, denoiser).explain(image)
    assert (result.status, result.queries) == ("complete", 1 + 16 + MOST_REPEATS)
    assert explainer(Changing(9, by=12.0, noise=0.1), denoiser).explain(image).status == "model_changed"


@pytest.mark.parametrize("task", ["explain", "counterfactual", "difference"])
def test_the_size_of_a_disagreement_is_in_the_record(denoiser, image, task):
    found = explainer(Changing(noise=0.3), denoiser)
    if task == "difference":
        result = found.difference(BlackBox(Changing(), may_change=True), image)
    else:
        result = getattr(found, task)(image)
    again = torch.stack(found.black_box.predict.answered[-MOST_REPEATS:]).softmax(dim=1)
    answers = torch.cat([found.black_box.predict.answered[0].softmax(dim=0)[None], again])
    spread = float((answers.amax(dim=0) - answers.amin(dim=0)).max())
    assert result.record["disagreement"] == pytest.approx(spread, rel=1e-4)
    assert spread > 0.01
    assert "disagreement" not in explainer(Changing(), denoiser).explain(image).record


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3, 1.0])
def test_the_noise_of_the_answers_is_in_the_error_bars(noise):
    """The score is linear with standard deviation 1, and its answers are noisy. 95 % bars hold the true gradient.

    The answers for the paid particles have the same noise, and the bars come from their spread. So the noise need not
    be known beforehand.
    """
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(64, 30, generator=generator) * torch.logspace(0, -1.2, 30)
    slope = torch.randn(64, generator=generator)
    slope /= (root.T @ slope).norm()
    truth, rounds = root @ (root.T @ slope), 60

    def answered(points):
        return points @ slope + noise * torch.randn(len(points), generator=generator)

    inside, squares, stated = torch.zeros(2), torch.zeros(2), torch.zeros(2)
    for _ in range(rounds):
        particles = torch.randn(96, 30, generator=generator) @ root.T
        axes = principal_axes(particles)
        points = sigma_points(axes, 31)
        predicted, values = linear_model(axes, points, answered(points))(particles), answered(particles[:40])
        one = torch.ones(1)
        found = (control_variate(particles, predicted, values), cross_covariance(particles[:40], values[:, None], one))
        for index, each in enumerate(found):
            error = each.gradient - truth
            inside[index] += (error.abs() <= 1.96 * each.standard_error).float().mean() / rounds
            squares[index] += error.square().sum()
            stated[index] += each.standard_error.square().sum()
    assert (inside > 0.92).all()
    assert (inside < 0.985).all()
    assert ((squares / stated - 1).abs() < 0.25).all()
