"""The forecast of denoisings, against the images that the network is given."""

from __future__ import annotations

import pytest
import torch

from freemcg import BlackBox, FreeMCG
from freemcg.diffusion.speed import seconds_per_image
from freemcg.gradient.directions import PARTICLES
from freemcg.jobs.speed import denoisings, describe_devices, describe_speed
from freemcg.settings import Settings

SMALL = {"particles": 3, "steps": 5, "strength": 0.5}


def brighter_right(images):
    light = (images - 0.5).flatten(1) @ torch.linspace(-3, 4, images[0].numel()).to(images)
    return torch.stack([light, -light], dim=1)


@pytest.mark.parametrize(
    "values",
    [
        {"particles": 40, "queries": 20, "noise": (0.3,), "search": {"rounds": 1}},
        {"particles": 40, "queries": 21, "noise": (0.1, 0.3), "search": {"rounds": 1}},
        {"particles": 40, "queries": 21, "noise": (0.1, 0.3), "estimate": "cross_covariance", "search": {"rounds": 1}},
        {"search": {**SMALL, "rounds": 3, "confidence": 1 - 1e-15}},
        {"search": {**SMALL, "refresh": 2, "unpaid": 8}},
        {"search": {**SMALL, "refresh": 2, "unpaid": 8, "fidelity": 0.2}},
        {"search": {**SMALL, "refresh": 1, "unpaid": 2, "estimate": "cross_covariance"}},
        {"search": {"method": "paper", **SMALL}},
    ],
)
def test_as_many_are_denoised_as_forecast(values, denoiser):
    explainer = FreeMCG(BlackBox(brighter_right), denoiser, **values)
    image = torch.full((denoiser.channels, *denoiser.image_size), 0.5)
    denoiser.check_size(image[None])
    given = denoiser.unet.batches
    for task in ("attribution", "counterfactual"):
        before = sum(given)
        if task == "attribution":
            result, counted = explainer.explain(image, target=0), 0
        else:
            decision = int(BlackBox(brighter_right)(image[None]).argmax())
            result = explainer.counterfactual(image, target=1 - decision)
            counted = PARTICLES if getattr(explainer.settings.search, "left_open", []) else 0
        assert sum(given) - before == counted + denoisings(Settings(**result.record["settings"]), task)


def test_batches_grow_up_to_that_of_the_denoiser_and_each_is_called_twice(denoiser):
    denoiser.batch_size = 20
    image = torch.full((denoiser.channels, *denoiser.image_size), 0.5)
    seconds = seconds_per_image(denoiser, image)
    assert denoiser.unet.batches == [1, 1, 4, 4, 16, 16]
    assert list(seconds) == [1, 4, 16]
    assert min(seconds.values()) > 0


def test_the_best_batch_tells_what_a_picture_takes():
    lines = describe_speed({1: 0.02, 4: 0.01}, Settings(), "cpu")
    assert lines == [
        "one denoising on cpu: 20 ms in batches of 1, 10 ms in batches of 4 (best)",
        "a picture takes 2.6 s for the 256 denoisings of an attribution and at most 6.6 s for the 664 of a "
        "counterfactual, beside the classifier's time",
    ]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (("cpu", 0, 1, 2), "threads in use: 1, processors: 2"),
        (
            ("cpu", 2, 8, 8),
            "threads in use: 8, processors: 8; CUDA devices: none of 2, which --device cuda would use",
        ),
        (("cuda", 1, 8, 8), "CUDA devices in use: 1 of 1"),
        (
            ("cuda", 4, 8, 8),
            "CUDA devices in use: 1 of 4; 'accelerate launch --multi_gpu --num_processes 4 -m freemcg' uses all",
        ),
    ],
)
def test_what_of_the_machine_is_used_is_said(found, said):
    assert describe_devices(*found) == said
