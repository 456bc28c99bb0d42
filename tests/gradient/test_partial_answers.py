"""A budget may end during retries. All answers that came by then are used, whichever images they are about."""

from __future__ import annotations

import pytest
import torch
from plane import SEARCH

from freemcg import BlackBox, FreeMCG, QueryBudgetExceeded
from freemcg.blackbox import QueryCache
from freemcg.diffusion.particles import draw_particles
from freemcg.ensemble import anomalies, principal_axes

QUERIES = 18


class Ending:
    """A remote model that, from some call on, answers only a few images. The budget does not hold a retry.

    It has two scores, whose difference is linear in the pixels.
    """

    identity = "ending"

    def __init__(self, fine=1, told=()):
        self.fine, self.told, self.calls = fine, told, 0
        generator = torch.Generator().manual_seed(3)
        self.slope = 6 * torch.randn(16, generator=generator)

    def answers(self, images, charge):
        self.calls += 1
        fails = self.calls > self.fine
        charge(len(images), False)
        value = (images - 0.5).flatten(1) @ self.slope
        rows = torch.stack([value / 2, -value / 2], dim=1)
        for index in range(len(images)):
            if not fails or index in self.told:
                yield index, 1, rows[index : index + 1]
        if fails:
            charge(10**6, True)


def explainer(model, denoiser, budget=1000, **settings):
    box = BlackBox(model, budget=budget, may_change=False, **settings.pop("box", {}))
    values = {"particles": 64, "queries": QUERIES, "search": SEARCH, "objective": "margin", **settings}
    return FreeMCG(box, denoiser, **values)


def particles_of(explainer, image):
    denoiser = explainer.denoiser
    return draw_particles(denoiser, image, denoiser.timestep(0.2), 64, seed=0).flatten(1)


def test_the_error_holds_what_was_answered(image, tmp_path):
    model = Ending(fine=0, told=(1, 3))
    cache = QueryCache(tmp_path / "answers.sqlite")
    box = BlackBox(model, budget=1000, cache=cache)
    images = torch.stack([image, 1 - image, image / 2, image / 3])
    with pytest.raises(QueryBudgetExceeded) as caught:
        box(images)
    wanted = BlackBox(Ending(fine=1))(images)
    assert sorted(caught.value.answered) == [1, 3]
    assert all(torch.equal(caught.value.answered[index], wanted[index]) for index in (1, 3))
    assert (box.queries, box.answered, cache.models()[0].answers) == (4, 2, 2)
    box.budget = box.queries
    with pytest.raises(QueryBudgetExceeded) as caught:
        box(images[1:])
    assert sorted(caught.value.answered) == [0, 2]  # these were known before


@pytest.mark.parametrize("told", [(0, 1, 2, 3), (0, 2, 5, 6), (0, 1), (0, 16, 3)])
def test_sigma_points_that_were_answered_are_exact_along_their_axes(denoiser, image, told):
    model = Ending(told=told)
    found = explainer(model, denoiser, estimate="sigma_points")
    result = found.explain(image, 0)
    assert (result.status, result.queries) == ("budget_exhausted", 1 + len(told))
    axes = principal_axes(particles_of(found, image))
    chosen = [index - 1 for index in told if index and index <= len(axes.variances)]
    directions, variances = axes.directions[chosen], axes.variances[chosen]
    wanted = ((variances * (directions @ model.slope)) @ directions).reshape(image.shape)
    torch.testing.assert_close(result.values, wanted, rtol=1e-3, atol=1e-4 * wanted.abs().max().item())


def test_without_the_centre_the_mean_of_what_is_around_it_stands_in(denoiser, image):
    told = tuple(range(1, 7))
    whole = explainer(Ending(told=(0, *told)), denoiser, estimate="sigma_points").explain(image, 0)
    result = explainer(Ending(told=told), denoiser, estimate="sigma_points").explain(image, 0)
    assert (result.status, result.queries) == ("budget_exhausted", 1 + len(told))
    assert torch.nn.functional.cosine_similarity(result.values.flatten(), whole.values.flatten(), dim=0) > 0.7


@pytest.mark.parametrize("told", [(0, 1, 2, 3), (1, 4, 9, 16), (5, 7)])
def test_particles_that_were_answered_are_those_that_count(denoiser, image, told):
    model = Ending(told=told)
    found = explainer(model, denoiser, estimate="cross_covariance")
    result = found.explain(image, 0)
    assert (result.status, result.queries) == ("budget_exhausted", 1 + len(told))
    deviations = anomalies(particles_of(found, image)[list(told)])
    wanted = (deviations.T @ (deviations @ model.slope)).reshape(image.shape)
    torch.testing.assert_close(result.values, wanted, rtol=1e-3, atol=1e-4 * wanted.abs().max().item())


def test_particles_that_were_answered_correct_the_model_of_the_sigma_points(denoiser, image):
    """Both parts are used. The score is linear, so the correction of its model is zero."""
    whole = explainer(Ending(fine=9), denoiser).explain(image, 0)
    result = explainer(Ending(fine=2, told=(1, 3, 4)), denoiser).explain(image, 0)
    assert (result.status, result.queries) == ("budget_exhausted", 1 + 11 + 3)
    torch.testing.assert_close(result.values, whole.values, rtol=1e-3, atol=1e-4 * whole.values.abs().max().item())
    assert result.standard_error.isfinite().all()


def test_levels_of_noise_that_were_not_reached_do_not_count(denoiser, image):
    two = explainer(Ending(fine=2, told=()), denoiser, noise=(0.2, 0.4), queries=17, estimate="cross_covariance")
    one = explainer(Ending(fine=9), denoiser, noise=0.2, queries=9, estimate="cross_covariance")
    torch.testing.assert_close(two.explain(image, 0).values, one.explain(image, 0).values)


def test_a_stream_ends_with_what_was_answered(denoiser, image):
    maps = list(explainer(Ending(fine=3, told=(0, 1, 2)), denoiser).stream(image, 0, tolerance=1e-9, queries=100))
    assert [each.status for each in maps] == ["complete", "budget_exhausted"]
    assert [each.queries for each in maps] == [33, 33 + 3]


@pytest.mark.parametrize("fine", range(1, 6))
def test_a_counterfactual_is_returned_wherever_the_budget_ends(denoiser, image, fine):
    """The calls are about the image, two gradients, and then one candidate each."""
    model = Ending(fine=fine, told=(0, 2))
    result = explainer(model, denoiser).counterfactual(image)
    if fine < 3:
        assert result.status == "budget_exhausted"
    assert result.queries <= 12
    row = BlackBox(Ending(fine=1))(result.image[None])[0]
    assert torch.equal(result.log_probabilities, row)


def test_a_difference_that_one_of_two_models_cannot_pay_for(denoiser, image):
    other = BlackBox(Ending(fine=2, told=(0, 1)), budget=1000)
    result = explainer(Ending(fine=9), denoiser).difference(other, image, 0)
    assert (result.status, result.queries) == ("budget_exhausted", 1 + 11)


def test_nothing_can_be_said_without_the_image_itself(denoiser, image):
    with pytest.raises(QueryBudgetExceeded):
        explainer(Ending(fine=0), denoiser).explain(image)
