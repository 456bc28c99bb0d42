"""The bundled models, on the bundled held-out images."""

from __future__ import annotations

import json

import pytest
import torch

from freemcg import BlackBox, FreeMCG, load_bundle
from freemcg.models.bundle import bundle_folder
from freemcg.models.digits import load_scans, render


@pytest.fixture(scope="module")
def bundle():
    return load_bundle("digits")


def test_held_out_images_are_the_test_split(bundle):
    scans, labels = load_scans("test")
    assert torch.equal((bundle.images * 255).round().to(torch.uint8), render(scans))
    assert torch.equal(bundle.labels, labels)


@pytest.mark.parametrize("name", ["classifier", "judge"])
def test_both_classifiers_know_held_out_digits(bundle, name):
    decided = getattr(bundle, name)(bundle.images).argmax(dim=1)
    accuracy = (decided == bundle.labels).float().mean().item()
    assert accuracy >= 0.97
    record = json.loads((bundle_folder("digits") / name / "training.json").read_text())
    assert accuracy == pytest.approx(record["held_out_accuracy"], abs=1 / 450)


def test_the_two_classifiers_are_different_networks(bundle):
    assert type(bundle.classifier) is not type(bundle.judge)


def test_the_denoiser_restores_held_out_digits_far_better_than_shrinking_the_noise(bundle):
    """It is compared with the best affine denoiser (pixelwise Gaussian), at a noise level that is high enough."""
    images = bundle.images[:64]
    t = bundle.denoiser.timestep(0.3)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    noisy = bundle.denoiser.add_noise(images, t, noise)
    error = (bundle.denoiser.denoise(noisy, t) - images).square().mean()
    mean, variance = images.mean(dim=0), images.var(dim=0)
    ratio = bundle.denoiser.sigma(t) ** 2 / 4  # in the units of [0, 1]
    affine = (variance * ratio / (variance + ratio)).mean()
    assert mean.max() > 0.5
    assert error < 0.5 * affine


def test_the_vae_reconstructs_held_out_digits(bundle):
    images = bundle.images[:100]
    with torch.no_grad():
        error = (bundle.vae(images) - images).square().mean()
    assert error < 0.25 * images.var(dim=0).mean()


def test_all_weights_together_stay_small():
    size = sum(path.stat().st_size for path in bundle_folder("digits").rglob("*") if path.is_file())
    assert size <= 12e6


def test_the_default_search_flips_held_out_digits_within_its_price(bundle):
    explainer = FreeMCG(BlackBox(bundle.classifier, class_names=bundle.class_names), bundle.denoiser)
    results = [explainer.counterfactual(image) for image in bundle.images[:3]]
    assert all(result.flipped for result in results)
    assert all(result.queries <= 120 for result in results)
    assert all(0 < result.l1 < 0.2 for result in results)
    assert results[0].record["class_names"] == list(bundle.class_names)
