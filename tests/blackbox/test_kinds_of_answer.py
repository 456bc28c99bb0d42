"""Independent labels, and quantities without classes: their maps in closed form, and their counterfactuals."""

from __future__ import annotations

import pytest
import torch
from plane import make

from freemcg import BlackBox
from freemcg.diffusion.particles import draw_particles
from freemcg.ensemble import anomalies

LABELS = 5


@pytest.fixture
def slopes(rng):
    return 4 * torch.randn(16, LABELS, generator=rng)


@pytest.fixture
def linear(slopes):
    return lambda images: (images - 0.5).flatten(1) @ slopes + torch.linspace(-0.5, 0.5, LABELS)


@pytest.fixture
def true_maps(denoiser, image, slopes):
    """The covariance of 512 particles times each slope."""
    particles = draw_particles(denoiser, image, denoiser.timestep(0.2), 512, seed=0)
    deviations = anomalies(particles.flatten(1))
    return deviations.T @ (deviations @ slopes)


def explained(box, denoiser, image, target):
    return make(box, denoiser, estimate="cross_covariance", queries=513, particles=512).explain(image, target)


@pytest.mark.parametrize("scores", ["multi_label", "multi_label_logit"])
def test_the_map_of_each_label_is_the_covariance_times_its_slope(denoiser, image, linear, true_maps, scores):
    predict = linear if scores == "multi_label_logit" else lambda images: linear(images).sigmoid()
    box = BlackBox(predict, scores, num_classes=LABELS)
    for label in range(LABELS):
        result = explained(box, denoiser, image, label)
        assert result.target == label
        torch.testing.assert_close(result.values.flatten(), true_maps[:, label], rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(result.log_probabilities.exp(), linear(image[None]).sigmoid()[0])
    assert result.decision == int(linear(image[None]).argmax())


@pytest.mark.parametrize("outputs", [1, LABELS])
def test_the_map_of_a_value_is_the_covariance_times_its_slope(denoiser, image, linear, true_maps, outputs):
    box = BlackBox(lambda images: 1000 * linear(images)[:, :outputs], "value")
    for output in range(outputs):
        result = explained(box, denoiser, image, output)
        torch.testing.assert_close(result.values.flatten(), 1000 * true_maps[:, output], rtol=1e-2, atol=1)
        assert (result.target, result.decision) == (output, output)
    torch.testing.assert_close(result.log_probabilities, 1000 * linear(image[None])[0, :outputs])


def test_one_value_may_come_without_an_axis_and_needs_no_target(denoiser, image, linear):
    flat = explained(BlackBox(lambda images: linear(images)[:, 0], "value"), denoiser, image, None)
    column = explained(BlackBox(lambda images: linear(images)[:, :1], "value"), denoiser, image, 0)
    assert torch.equal(flat.values, column.values)
    assert flat.status == "complete"
    assert flat.standard_error.isfinite().all()


def test_of_several_values_one_must_be_named(denoiser, image, linear):
    with pytest.raises(ValueError, match=r"^the model answers 5 numbers; say which one as target$"):
        explained(BlackBox(linear, "value"), denoiser, image, None)


@pytest.mark.parametrize("label", range(LABELS))
def test_a_counterfactual_turns_a_label_on_or_off(denoiser, image, linear, label):
    box = BlackBox(linear, "multi_label_logit", class_names=list("abcde"))
    result = make(box, denoiser).counterfactual(image, "abcde"[label])
    was_on = bool(linear(image[None])[0, label] > 0)
    assert result.target == int(not was_on)
    assert result.record["class_names"] == [f"not {'abcde'[label]}", "abcde"[label]]
    is_on = bool(linear(result.image[None])[0, label] > 0)
    assert (is_on != was_on) == result.flipped
    assert result.flipped


@pytest.mark.parametrize(("way", "amount"), [("up", 0.3), ("down", 0.3), ("to", 0.2), ("to", 0.8), ("to", -0.6)])
def test_a_counterfactual_moves_a_value(denoiser, image, linear, way, amount):
    box = BlackBox(lambda images: linear(images)[:, 2], "value")
    start = linear(image[None])[0, 2].item()
    target = start + amount if way == "to" else f"{way}:{amount}"
    result = make(box, denoiser).counterfactual(image, target)
    value = linear(result.image[None])[0, 2].item()
    assert result.record["value before"] == pytest.approx(start, abs=1e-5)
    assert result.record["value"] == pytest.approx(value, abs=1e-5)
    assert result.flipped
    assert result.status == "complete"
    if way == "to":
        assert abs(value - target) <= 0.1 * abs(amount) + 1e-5
    else:
        assert (value - start) * (1 if way == "up" else -1) >= amount - 1e-5


def test_a_value_that_cannot_be_reached_is_said_so(denoiser, image, linear):
    box = BlackBox(lambda images: linear(images)[:, 2], "value")
    result = make(box, denoiser).counterfactual(image, "up:1000")
    assert not result.flipped
    assert result.status == "not_flipped"


def test_a_value_that_is_there_already_is_said_so(denoiser, image, linear):
    box = BlackBox(lambda images: linear(images)[:, 2], "value")
    result = make(box, denoiser).counterfactual(image, linear(image[None])[0, 2].item())
    assert (result.status, result.queries) == ("already_target", 1)


@pytest.mark.parametrize(
    ("scores", "outputs", "target", "message"),
    [
        ("multi_label", 3, None, "name the label that is to change: there is no runner-up among independent labels"),
        ("multi_label", 3, 3, "there is no class 3; classes are 0..2"),
        (
            "value",
            1,
            None,
            "the goal for a value is a number to reach, up:AMOUNT or down:AMOUNT, after NAME= if there ",
        ),
        ("value", 1, "higher", "the goal for a value is a number to reach, up:AMOUNT or down:AMOUNT, after NAME= if "),
        ("value", 1, "up:-2", "the amount of up must be > 0, got -2"),
        ("value", 1, "1.2.3", "'1.2.3' is no number, in the goal '1.2.3'"),
        ("value", 3, "up:2", "the model answers 3 numbers; say which, as NAME=up:2"),
        ("value", 3, "7=up:2", "there is no class 7; classes are 0..2"),
    ],
)
def test_what_is_no_goal_is_refused_before_the_first_query(denoiser, image, scores, outputs, target, message):
    box = BlackBox(lambda images: torch.zeros(len(images), outputs), scores, num_classes=outputs)
    with pytest.raises(ValueError) as caught:
        make(box, denoiser).counterfactual(image, target)
    assert str(caught.value).startswith(message)
    assert box.queries == 0


def test_one_of_several_values_goes_by_its_name(denoiser, image, linear):
    box = BlackBox(linear, "value", class_names=["a", "b", "c", "d", "age"])
    result = make(box, denoiser).counterfactual(image, "age=up:0.2")
    assert result.record["goal"] == "age=up:0.2"
    assert result.flipped
    assert result.record["value"] - result.record["value before"] >= 0.2 - 1e-5


def test_a_probability_of_a_label_beyond_one_is_refused():
    box = BlackBox(lambda images: torch.full((len(images), 2), 1.5), "multi_label")
    with pytest.raises(ValueError) as caught:
        box(torch.zeros(1, 1, 2, 2))
    assert str(caught.value) == (
        "the black box was declared to answer a probability for each label, but answered 1.5, which is not in [0, 1]; "
        "they are not bounded, like logits: say scores='logits' (--scores, means:), 'multi_label_logit' for "
        "independent labels, or 'value' for numbers that mean themselves; if they are percent, divide them by 100 "
        "(percent: true) and say scores='multi_label'"
    )
