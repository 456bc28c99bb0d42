"""Maps from batches of queries, maps of pairs of classes, and maps of the difference of two models."""

from __future__ import annotations

import itertools

import pytest
import torch
from plane import make

from freemcg import BlackBox, FreeMCG
from freemcg.diffusion.particles import draw_particles
from freemcg.ensemble import anomalies
from freemcg.gradient.objective import between

STEPS = [33, 49, 65, 81, 97, 113, 129]
OUT_OF_REACH = 1e-6


def costs(maps):
    return [each.queries for each in maps]


def steep(classifier):
    """A model of two classes, whose log-odds are linear in the pixels."""
    return lambda images: classifier(images)[:, :2]


def slope_of(classifier):
    return (classifier.weights[:, 0] - classifier.weights[:, 1]).detach()


def particles_of(denoiser, image, count):
    return draw_particles(denoiser, image, denoiser.timestep(0.2), count, seed=0).flatten(1)


# --- until the map is certain enough ---


@pytest.mark.parametrize("queries", [3, 20, 33, 34, 49, 100, 129])
@pytest.mark.parametrize("estimate", ["control_variate", "cross_covariance"])
def test_a_stream_gives_a_map_after_33_queries_and_16_more_each_up_to_the_most(
    classifier, denoiser, image, queries, estimate
):
    explainer = make(classifier, denoiser, estimate=estimate)
    maps = list(explainer.stream(image, tolerance=OUT_OF_REACH, queries=queries))
    assert costs(maps) == [step for step in STEPS if step < queries] + [queries]
    assert explainer.black_box.queries == len(classifier.asked) == queries
    assert [each.status for each in maps] == ["complete"] * (len(maps) - 1) + ["budget_exhausted"]


@pytest.mark.parametrize("budget", [3, 20, 33, 60, 97])
def test_a_stream_ends_with_the_budget_of_the_black_box(classifier, denoiser, image, budget):
    maps = list(make(classifier, denoiser, budget=budget).stream(image, tolerance=OUT_OF_REACH))
    assert costs(maps) == [step for step in STEPS if step < budget] + [budget]
    assert len(classifier.asked) == budget
    assert [each.status for each in maps] == ["complete"] * (len(maps) - 1) + ["budget_exhausted"]


def test_taking_no_more_maps_asks_no_more(classifier, denoiser, image):
    stream = make(classifier, denoiser).stream(image, tolerance=OUT_OF_REACH)
    assert not classifier.asked
    for step in STEPS[:3]:
        assert next(stream).queries == len(classifier.asked) == step
    stream.close()
    assert len(classifier.asked) == STEPS[2]


@pytest.mark.parametrize("tolerance", [0.5, 0.35, 0.25])
def test_a_stream_stops_at_the_first_map_that_is_certain_enough(classifier, denoiser, image, tolerance):
    explainer = make(classifier, denoiser)
    maps = list(explainer.stream(image, tolerance=tolerance))
    assert [each.relative_error <= tolerance for each in maps] == [False] * (len(maps) - 1) + [True]
    assert {each.status for each in maps} == {"complete"}
    assert costs(maps) == STEPS[: len(maps)]
    assert len(classifier.asked) == maps[-1].queries


def test_a_tolerance_of_half_takes_more_queries(classifier, denoiser, image):
    found = [make(classifier, denoiser).explain(image, tolerance=t, queries=2000).queries for t in (0.5, 0.25, 0.125)]
    assert found == sorted(found)
    assert found[0] < found[1] < found[2]


def test_explain_with_a_tolerance_is_the_last_map_of_the_stream(classifier, denoiser, image):
    explainer = make(classifier, denoiser)
    *_, last = explainer.stream(image, 1, tolerance=0.25)
    wanted = explainer.explain(image, 1, tolerance=0.25)
    set_before = make(classifier, denoiser, tolerance=0.25, queries=512).explain(image, 1)
    for each in (wanted, set_before):
        assert (each.queries, each.status) == (last.queries, last.status)
        assert torch.equal(each.values, last.values)
        assert torch.equal(each.standard_error, last.standard_error)


def test_the_settings_bound_a_stream_where_the_call_does_not(classifier, denoiser, image):
    explainer = make(classifier, denoiser, tolerance=OUT_OF_REACH, queries=51)
    assert costs(explainer.stream(image)) == [33, 49, 51]
    assert explainer.explain(image).queries == 51
    assert costs(explainer.stream(image, queries=40)) == [33, 40]
    assert explainer.explain(image, tolerance=100.0).queries == 33
    no_tolerance = make(classifier, denoiser)
    *_, last = no_tolerance.stream(image)
    assert last.relative_error <= 0.2  # the default
    assert last.queries <= 512


@pytest.mark.parametrize("estimate", ["control_variate", "cross_covariance"])
def test_each_map_of_a_stream_is_what_so_many_queries_at_once_give(classifier, denoiser, image, estimate):
    """This holds if the stream draws no more particles. With 1024, their sampling is a small part of the error."""
    settings = {"particles": 1024, "estimate": estimate}
    maps = list(make(classifier, denoiser, **settings).stream(image, tolerance=0.2))
    assert len(maps) >= 2
    for each in (maps[0], maps[-1]):
        wanted = make(classifier, denoiser, queries=each.queries, **settings).explain(image)
        torch.testing.assert_close(each.values, wanted.values, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(each.standard_error, wanted.standard_error, rtol=1e-3, atol=1e-6)


def test_a_map_is_as_near_to_that_of_very_many_queries_as_the_tolerance_says(classifier, denoiser, image):
    """The mean squared relative error over seeds may be a third larger, since stopping favours lucky maps."""
    truth = make(classifier, denoiser, estimate="cross_covariance", queries=6001, seed=99).explain(image, 0).values
    squares, stated = [], []
    for seed in range(12):
        result = make(classifier, denoiser, seed=seed).explain(image, 0, tolerance=0.25)
        assert result.status == "complete"
        squares.append(((result.values - truth).norm() / truth.norm()).square().item())
        stated.append(result.relative_error**2)
    assert max(stated) <= 0.25**2
    assert 0.5 * sum(stated) < sum(squares) < 1.33 * 12 * 0.25**2


def test_no_signal_ends_a_stream_after_the_first_batch(denoiser, image):
    same = lambda x: x.new_tensor([0.1, 0.2, 0.3]).expand(len(x), 3)  # noqa: E731
    (result,) = make(same, denoiser).stream(image, tolerance=0.1)
    assert (result.status, result.queries) == ("no_signal", 33)
    assert result.values.abs().max() < 1e-12
    assert not result.significant().any()


def test_more_particles_are_drawn_where_their_sampling_is_what_is_left(classifier, denoiser, image):
    """The score is linear, so only the axes that so few particles lack are missing. No query is spent."""
    explainer = make(steep(classifier), denoiser, objective="margin", noise=0.2, particles=24)
    fixed = make(steep(classifier), denoiser, objective="margin", noise=0.2, particles=24, queries=33).explain(image, 0)
    assert fixed.relative_error > 0.2
    assert fixed.error_parts["sampling"] > 10 * fixed.error_parts["residual"]
    denoiser.unet.batches.clear()
    result = explainer.explain(image, 0, tolerance=0.2)
    assert (result.status, result.queries) == ("complete", 33)
    assert sum(denoiser.unet.batches) in [24 * 2**doublings for doublings in range(1, 5)]
    assert result.error_parts["sampling"] < fixed.error_parts["sampling"]
    assert result.relative_error <= 0.2


def test_particles_are_drawn_up_to_16_times_as_many(classifier, denoiser, image):
    explainer = make(steep(classifier), denoiser, objective="margin", noise=0.2, particles=24)
    denoiser.check_size(image[None])
    denoiser.unet.batches.clear()
    result = explainer.explain(image, 0, tolerance=OUT_OF_REACH, queries=50)
    assert sum(denoiser.unet.batches) == 16 * 24
    assert result.status == "budget_exhausted"


def test_levels_of_noise_take_their_batches_together(classifier, denoiser, image):
    explainer = make(classifier, denoiser, noise=(0.1, 0.2, 0.3))
    maps = list(explainer.stream(image, tolerance=OUT_OF_REACH, queries=100))
    assert costs(maps) == [1 + 3 * 10, 1 + 3 * 10 + 3 * 16, 1 + 3 * 33]
    assert maps[-1].status == "budget_exhausted"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"tolerance": 0}, "tolerance must be > 0, got 0"),
        ({"tolerance": -0.5}, "tolerance must be > 0, got -0.5"),
        ({"queries": 2}, "queries must be >= 3, got 2"),
        ({"tolerance": 0.1, "target": 3}, "there is no class 3; classes are 0..2"),
    ],
)
def test_a_stream_refuses_before_anything_is_asked(classifier, denoiser, image, call, message):
    explainer = FreeMCG(BlackBox(classifier, num_classes=3), denoiser)
    for task in (explainer.stream, explainer.explain):
        with pytest.raises(ValueError) as caught:
            task(image, **call)
        assert str(caught.value) == message
    assert not classifier.asked


@pytest.mark.parametrize("estimate", ["sigma_points", "regression", "per_particle"])
def test_a_stream_needs_error_bars(classifier, denoiser, image, estimate):
    with pytest.raises(ValueError) as caught:
        make(classifier, denoiser, estimate=estimate).stream(image)
    assert str(caught.value) == (
        f"a tolerance needs an estimate with error bars, control_variate or cross_covariance; got {estimate!r}"
    )
    assert not classifier.asked


def test_the_forecast_of_queries_is_what_it_takes(classifier, denoiser, image):
    settings = {"estimate": "cross_covariance", "particles": 64}
    first = make(classifier, denoiser, queries=101, **settings).explain(image, 0)
    assert 0.5 < first.reliability < 0.95
    needed = first.queries_for(0.97)
    assert needed > 150
    later = make(classifier, denoiser, queries=needed, **settings).explain(image, 0)
    assert later.reliability == pytest.approx(0.97, abs=0.01)
    assert later.queries_for(later.reliability) == pytest.approx(later.queries, abs=1)


# --- pairs of classes ---


def test_contrasts_of_all_pairs_are_read_off_the_same_queries(classifier, denoiser, image):
    explainer = FreeMCG(BlackBox(classifier, num_classes=3), denoiser, particles=64, queries=21)
    maps = explainer.contrasts(image)
    assert list(maps) == [(0, 1), (0, 2), (1, 2)]
    assert explainer.black_box.queries == len(classifier.asked) == 21
    for (first, second), result in maps.items():
        assert (result.target, result.queries, result.status) == (first, 21, "complete")
        single = make(classifier, denoiser, objective=between(second), queries=21).explain(image, first)
        torch.testing.assert_close(result.values, single.values, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(result.standard_error, single.standard_error, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("estimate", ["cross_covariance", "sigma_points", "per_particle", "regression"])
def test_contrasts_add_up(classifier, denoiser, image, estimate):
    """`(log p_0 - log p_1) + (log p_1 - log p_2) = log p_0 - log p_2`, if the estimate is linear in the answers."""
    maps = make(classifier, denoiser, estimate=estimate).contrasts(image, [0, 1, 2])
    scale = maps[0, 2].values.abs().max().item()
    whole = maps[0, 1].values + maps[1, 2].values
    torch.testing.assert_close(whole, maps[0, 2].values, rtol=1e-3, atol=1e-4 * scale)


@pytest.mark.parametrize("estimate", ["control_variate", "cross_covariance"])
def test_the_order_of_a_pair_is_its_sign(classifier, denoiser, image, estimate):
    there = make(classifier, denoiser, estimate=estimate).contrasts(image, [0, 2])[0, 2]
    back = make(classifier, denoiser, estimate=estimate).contrasts(image, [2, 0])[2, 0]
    torch.testing.assert_close(back.values, -there.values, rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(back.standard_error, there.standard_error, rtol=1e-5, atol=1e-8)


def test_a_contrast_of_linear_scores_is_the_covariance_times_the_difference_of_their_slopes(
    classifier, denoiser, image
):
    maps = make(classifier, denoiser, estimate="cross_covariance", queries=41).contrasts(image, [0, 1, 2])
    deviations = anomalies(particles_of(denoiser, image, 40))
    for first, second in itertools.combinations(range(3), 2):
        slope = (classifier.weights[:, first] - classifier.weights[:, second]).detach()
        wanted = (deviations.T @ (deviations @ slope)).reshape(image.shape)
        torch.testing.assert_close(maps[first, second].values, wanted, rtol=1e-3, atol=2e-5)


def test_contrasts_go_by_name_and_within_the_budget(classifier, denoiser, image):
    box = BlackBox(classifier, class_names=["cat", "dog", "owl"], budget=10)
    maps = FreeMCG(box, denoiser, particles=64, queries=21).contrasts(image, ["owl", "cat"])
    assert list(maps) == [(2, 0)]
    assert maps[2, 0].status == "budget_exhausted"
    assert len(classifier.asked) == maps[2, 0].queries == 10


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([1], "classes must be two or more different ones, got [1]"),
        ([], "classes must be two or more different ones, got []"),
        ([0, 1, 0], "classes must be two or more different ones, got [0, 1, 0]"),
        ([0, 3], "there is no class 3; classes are 0..2"),
    ],
)
def test_bad_classes_of_contrasts_cost_nothing(classifier, denoiser, image, classes, message):
    with pytest.raises(ValueError) as caught:
        FreeMCG(BlackBox(classifier, num_classes=3), denoiser).contrasts(image, classes)
    assert str(caught.value) == message
    assert not classifier.asked


def test_all_classes_of_a_black_box_that_has_not_said_how_many_are_refused(classifier, denoiser, image):
    with pytest.raises(ValueError) as caught:
        make(classifier, denoiser).contrasts(image)
    assert str(caught.value) == "the number of classes is not known yet; name the classes, or give num_classes"
    assert not classifier.asked


# --- what two models differ in ---


@pytest.fixture
def other(classifier):
    """The same model with a small change of its weights."""
    twin = type(classifier)().eval()
    with torch.no_grad():
        twin.weights += 0.3 * torch.randn(16, 3, generator=torch.Generator().manual_seed(8))
    return twin


@pytest.mark.parametrize("estimate", ["control_variate", "cross_covariance"])
def test_a_model_does_not_differ_from_itself(classifier, denoiser, image, estimate):
    result = make(classifier, denoiser, estimate=estimate).difference(type(classifier)().eval(), image)
    assert (result.values == 0).all()
    assert (result.standard_error == 0).all()
    assert result.status == "no_signal"


def test_both_models_are_asked_about_the_same_images_as_often(classifier, denoiser, image, other):
    result = make(classifier, denoiser).difference(other, image)
    assert result.queries == len(classifier.asked) == len(other.asked) == 17
    assert all(torch.equal(a, b) for a, b in zip(classifier.asked, other.asked, strict=True))
    assert torch.equal(classifier.asked[0], image)
    assert result.status == "complete"


@pytest.mark.parametrize(
    ("estimate", "queries", "covers"),
    [("cross_covariance", 41, 40), ("control_variate", 41, 64), ("sigma_points", 41, 64)],
)
def test_the_difference_of_linear_models_is_the_covariance_times_that_of_their_slopes(
    classifier, denoiser, image, other, estimate, queries, covers
):
    settings = {"estimate": estimate, "queries": queries, "objective": "margin"}
    result = make(steep(classifier), denoiser, **settings).difference(steep(other), image, 0)
    deviations = anomalies(particles_of(denoiser, image, covers))
    wanted = (deviations.T @ (deviations @ (slope_of(classifier) - slope_of(other)))).reshape(image.shape)
    torch.testing.assert_close(result.values, wanted, rtol=5e-3, atol=5e-3 * wanted.abs().max().item())


@pytest.mark.parametrize("estimate", ["control_variate", "cross_covariance"])
def test_what_two_models_share_is_no_error_of_their_difference(classifier, denoiser, image, other, estimate):
    first, second = (make(each, denoiser, estimate=estimate).explain(image, 0) for each in (classifier, other))
    result = make(classifier, denoiser, estimate=estimate).difference(other, image, 0)
    apart = (first.standard_error.square() + second.standard_error.square()).sqrt()
    assert result.standard_error.norm() < apart.norm() / 5
    if estimate == "cross_covariance":  # this one is linear in the answers
        torch.testing.assert_close(result.values, first.values - second.values, rtol=1e-3, atol=1e-6)


def test_the_difference_changes_sign_with_the_order_of_the_models(classifier, denoiser, image, other):
    there = make(classifier, denoiser).difference(other, image, 0)
    back = make(other, denoiser).difference(classifier, image, 0)
    torch.testing.assert_close(back.values, -there.values, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(back.standard_error, there.standard_error, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("budget", "others"), [(9, None), (None, 9), (12, 9)])
def test_the_smaller_budget_of_two_models_counts(classifier, denoiser, image, other, budget, others):
    result = make(classifier, denoiser, budget=budget).difference(BlackBox(other, budget=others), image)
    assert result.queries == len(classifier.asked) == len(other.asked) == 9
    assert result.status == "budget_exhausted"


def test_models_of_other_classes_are_refused(classifier, denoiser, image):
    with pytest.raises(ValueError) as caught:
        make(classifier, denoiser).difference(steep(classifier), image)
    assert str(caught.value) == "the models must answer the same classes; one answers 3, the other 2"


@pytest.mark.parametrize("change", [lambda x: x[:, :3], lambda x: 3 * x, lambda x: torch.stack([x, x])])
def test_bad_images_cost_no_model_anything(classifier, denoiser, image, other, change):
    explainer = make(classifier, denoiser)
    for task in (explainer.stream, explainer.contrasts, lambda x: explainer.difference(other, x)):
        with pytest.raises(ValueError):
            task(change(image))
    assert not classifier.asked
    assert not other.asked
