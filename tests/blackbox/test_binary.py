"""A model that answers one number an image: the probability of the positive one of two classes, or its logit."""

from __future__ import annotations

import pytest
import torch
from plane import make

from freemcg import BlackBox
from freemcg.blackbox.remote.replies import read_numbers
from freemcg.diffusion.particles import draw_particles
from freemcg.ensemble import anomalies

BIAS = 0.3


@pytest.fixture
def slope(classifier):
    return classifier.weights[:, 1].detach() - classifier.weights[:, 0].detach()


@pytest.fixture
def logit(slope):
    return lambda images: (images - 0.5).flatten(1) @ slope + BIAS


@pytest.mark.parametrize("column", [False, True])
@pytest.mark.parametrize("scores", ["binary", "binary_logit"])
def test_the_map_of_a_logistic_model_is_the_covariance_times_its_slope(denoiser, image, slope, logit, scores, column):
    def predict(images):
        answer = logit(images) if scores == "binary_logit" else logit(images).sigmoid()
        return answer[:, None] if column else answer

    box = BlackBox(predict, scores)
    result = make(box, denoiser, estimate="cross_covariance", queries=513, particles=512).explain(image, target=1)
    particles = draw_particles(denoiser, image, denoiser.timestep(0.2), 512, seed=0).flatten(1)
    X = anomalies(particles).T
    torch.testing.assert_close(result.values.flatten(), X @ (X.T @ slope), rtol=1e-3, atol=1e-4)
    probability = logit(image[None]).sigmoid()[0]
    torch.testing.assert_close(result.log_probabilities.exp(), torch.stack([1 - probability, probability]))
    assert result.decision == int(probability > 0.5)


@pytest.mark.parametrize("scores", ["binary", "binary_logit"])
def test_it_is_explained_and_changed_as_the_same_model_of_two_classes(denoiser, image, logit, scores):
    one = BlackBox(lambda images: logit(images).sigmoid() if scores == "binary" else logit(images), scores)
    two = BlackBox(lambda images: torch.stack([torch.zeros(len(images)), logit(images)], dim=1))
    maps = [make(box, denoiser).explain(image, target=1).values for box in (one, two)]
    torch.testing.assert_close(*maps, rtol=1e-4, atol=1e-5 * maps[1].abs().max().item())
    found = [make(box, denoiser).counterfactual(image) for box in (one, two)]
    assert found[0].target == found[1].target != found[0].original_decision
    assert found[0].queries == found[1].queries
    torch.testing.assert_close(found[0].image, found[1].image, rtol=0, atol=2 / 255)


def test_a_certain_answer_keeps_its_log_odds():
    box = BlackBox(lambda images: torch.full((len(images),), 40.0), "binary_logit")
    row = box(torch.zeros(1, 1, 2, 2))[0]
    assert (row[1] - row[0]).item() == pytest.approx(40)


def test_a_logit_that_is_declared_a_probability_is_refused():
    box = BlackBox(lambda images: torch.full((len(images),), -2.5), "binary")
    sentence = (
        "the black box was declared to answer the probability of the positive class, but answered -2.5, which is not "
        "in [0, 1]; they are not bounded, like a number that means itself: say scores='value' (--scores, means:), or "
        "'binary_logit' for the logit of the positive class of two"
    )
    with pytest.raises(ValueError) as caught:
        box(torch.zeros(1, 1, 2, 2))
    assert str(caught.value) == sentence


def test_it_has_two_classes():
    assert BlackBox(lambda images: images, "binary").num_classes == 2
    assert BlackBox(lambda images: images, "binary", class_names=["no", "yes"]).class_index("yes") == 1
    with pytest.raises(ValueError, match=r"^scores='binary' has two classes, negative and positive, not 3$"):
        BlackBox(lambda images: images, "binary", num_classes=3)


@pytest.mark.parametrize(("shape", "scores"), [((1, 5, 1, 1), "logits"), ((1, 1), "label"), ((1, 1, 1, 1), "binary")])
def test_axes_of_one_at_the_end_are_dropped(shape, scores):
    box = BlackBox(lambda images: torch.zeros(shape), scores, num_classes=2 if scores != "logits" else None)
    assert box(torch.zeros(1, 1, 2, 2)).shape == (1, 5 if scores == "logits" else 2)


@pytest.mark.parametrize("found", [0.25, [0.25], [[0.25]], [0.25, 0.5], [[0.25], [0.5]]])
def test_a_reply_holds_a_number_an_image(found):
    count = len(found) if isinstance(found, list) else 1
    assert read_numbers(found, count).tolist() == [0.25, 0.5][:count]


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([0.25], "holds 1 numbers for 2 images"),
        (0.25, "holds 1 numbers for 2 images"),
        (["a", "b"], "holds no rows of numbers"),
        ([0.25, float("nan")], "holds NaN for image 1 of 2"),
    ],
)
def test_a_reply_that_holds_none_is_refused(found, message):
    with pytest.raises(ValueError) as caught:
        read_numbers(found, 2)
    assert str(caught.value) == message
