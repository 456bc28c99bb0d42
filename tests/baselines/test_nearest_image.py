"""The nearest known image of the target class, and what it costs to come to it."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler
from torch import Tensor

from baselines.nearest_image import NearestImage
from freemcg import BlackBox, Denoiser

SHAPE = (1, 4, 4)
LEVELS = [0.45, 0.55, 0.6, 0.1, 0.9, 0.62]


def answer(images: Tensor) -> Tensor:
    """Class 1 above mid-grey and class 0 below, more sure farther away."""
    odds = 100 * (images.flatten(1).mean(dim=1) - 0.5)
    return torch.stack([torch.zeros_like(odds), odds], dim=1)


@pytest.fixture
def known() -> Tensor:
    return torch.tensor(LEVELS).reshape(-1, 1, 1, 1).expand(-1, *SHAPE).contiguous()


@pytest.fixture
def denoiser(gaussian_network) -> Denoiser:
    scheduler = DDPMScheduler()
    network = gaussian_network(torch.zeros(SHAPE, dtype=torch.double), 0.04 * torch.eye(16).double(), scheduler)
    return Denoiser(network.float(), scheduler)


@pytest.fixture
def image() -> Tensor:
    return torch.full(SHAPE, 0.4)


def test_it_is_the_nearest_that_is_sure_enough(denoiser, known, image):
    """.45 is nearer but of the other class. .55 has a probability of .993. The image itself is the first query."""
    result = NearestImage(answer, denoiser, images=known).counterfactual(image, 1)
    assert result.image.mean().item() == pytest.approx(0.55, abs=1 / 255)
    assert (result.status, result.queries) == ("complete", 3)
    assert result.l1 == pytest.approx(0.15, abs=2 / 255)
    surer = NearestImage(answer, denoiser, images=known, confidence=0.9999).counterfactual(image, 1)
    assert surer.image.mean().item() == pytest.approx(0.6, abs=1 / 255)
    assert surer.queries == 4


def test_labels_save_the_queries_about_other_classes(denoiser, known, image):
    labels = [0, 1, 1, 0, 1, 1]
    result = NearestImage(answer, denoiser, images=known, labels=labels).counterfactual(image, 1)
    assert result.image.mean().item() == pytest.approx(0.55, abs=1 / 255)
    assert result.queries == 2


def test_it_may_cost_what_the_largest_class_has_and_no_more_than_the_queries(denoiser, known):
    def most(**settings):
        return NearestImage(answer, denoiser, images=known, **settings).most

    assert most() == 7
    assert most(labels=[0, 1, 1, 0, 1, 1]) == 5
    assert most(labels=[0, 1, 1, 0, 1, 1], queries=4) == 4


def test_it_never_asks_more_than_it_may(denoiser, known, image):
    far = known[:4]  # .45 is the nearest
    result = NearestImage(answer, denoiser, images=far, queries=2).counterfactual(image, 1)
    assert (result.status, result.queries) == ("not_flipped", 2)
    assert result.image.mean().item() == pytest.approx(0.45, abs=1 / 255)
    box = BlackBox(answer, budget=2)
    result = NearestImage(box, denoiser, images=far).counterfactual(image, 1)
    assert (result.status, result.queries) == ("budget_exhausted", 2)


def test_bad_input_costs_nothing(denoiser, known, image):
    with pytest.raises(ValueError, match=r"^labels must be one an image, 6, got shape \(2,\)$"):
        NearestImage(answer, denoiser, images=known, labels=[0, 1])
    with pytest.raises(ValueError, match=r"^queries must be >= 2, got 1$"):
        NearestImage(answer, denoiser, images=known, queries=1)
    with pytest.raises(ValueError, match="images are 3x4 but the denoiser"):
        NearestImage(answer, denoiser, images=known[:, :, :3])
    box = BlackBox(answer)
    with pytest.raises(ValueError, match=r"^no image has the label 1; add images of that class$"):
        NearestImage(box, denoiser, images=known, labels=[0] * 6).counterfactual(image, 1)
    assert box.queries == 0
