"""The bundled models, on the bundled held-out images."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from freemcg import BlackBox, Denoiser, FreeMCG, load_bundle
from freemcg.files.bundles import BUNDLES, bundle_folder
from freemcg.files.listing import SUFFIXES
from freemcg.models.digits import load_scans, render
from freemcg.models.load import load_black_box, load_denoiser, load_vae
from freemcg.training import DenoiserTraining, train_denoiser

SHARED = Path(__file__).parents[3] / "shared" / "data" / "pneumonia.npz"


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


@pytest.mark.parametrize(("name", "most"), [("digits", 12e6), ("cifar10", 12e6), ("chest-xrays", 6e6)])
def test_the_files_of_a_bundle_stay_small(name, most):
    size = sum(path.stat().st_size for path in bundle_folder(name).rglob("*") if path.is_file())
    assert 1e6 < size <= most


def test_the_default_search_flips_held_out_digits_within_its_price(bundle):
    explainer = FreeMCG(BlackBox(bundle.classifier, class_names=bundle.class_names), bundle.denoiser)
    results = [explainer.counterfactual(image) for image in bundle.images[:3]]
    assert all(result.flipped for result in results)
    assert all(result.queries <= 120 for result in results)
    assert all(0 < result.l1 < 0.2 for result in results)
    assert results[0].record["class_names"] == list(bundle.class_names)


# --- chest X-rays ---


@pytest.fixture(scope="module")
def x_rays():
    return load_bundle("chest-xrays")


def test_held_out_x_rays_are_as_many_of_each_class(x_rays):
    assert x_rays.class_names == ("normal", "pneumonia")
    assert x_rays.labels.bincount().tolist() == [234, 234]
    assert x_rays.images.shape == (468, 1, 28, 28)
    assert torch.equal((x_rays.images * 255).round() / 255, x_rays.images)
    assert len(torch.unique(x_rays.images.flatten(1), dim=0)) == 468
    assert x_rays.vae is None


@pytest.mark.skipif(not SHARED.is_file(), reason="needs the data beside the checkout")
def test_no_held_out_x_ray_was_seen_in_training(x_rays):
    with np.load(SHARED) as arrays:
        seen = {each.tobytes() for name in ("train_images", "val_images") for each in arrays[name]}
        test = torch.from_numpy(arrays["test_images"])[:, None]
    assert torch.equal((x_rays.images * 255).round().to(torch.uint8), test)
    assert not seen & {each.numpy().tobytes() for each in test}


def test_both_networks_of_x_rays_decide_nine_in_ten_right_and_differ(x_rays):
    for network in (x_rays.classifier, x_rays.judge):
        right = network(x_rays.images).argmax(dim=1) == x_rays.labels
        assert right.float().mean() > 0.9
    assert type(x_rays.classifier) is not type(x_rays.judge)


def test_the_denoiser_of_x_rays_restores_them_at_their_own_size(x_rays):
    """It is compared with the best affine denoiser of single pixels, as that of the digits is."""
    x_rays.denoiser.check_size(x_rays.images)
    assert (x_rays.denoiser.channels, x_rays.denoiser.image_size) == (1, (28, 28))
    images, t = x_rays.images[::8], x_rays.denoiser.timestep(0.1)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    error = (x_rays.denoiser.denoise(x_rays.denoiser.add_noise(images, t, noise), t) - images).square().mean()
    ratio = x_rays.denoiser.sigma(t) ** 2 / 4  # in the units of [0, 1]
    variance = images.var(dim=0)
    assert error < 0.3 * (variance * ratio / (variance + ratio)).mean()


def test_the_default_search_turns_an_x_ray(x_rays):
    right = (x_rays.classifier(x_rays.images).argmax(dim=1) == x_rays.labels).nonzero()[0].item()
    box = BlackBox(x_rays.classifier, class_names=x_rays.class_names)
    result = FreeMCG(box, x_rays.denoiser).counterfactual(x_rays.images[right])
    assert result.flipped
    assert result.queries <= 50
    assert 0 < result.l1 < 0.25


# --- denoisers by name ---


@pytest.mark.parametrize("name", BUNDLES)
def test_a_bundled_denoiser_is_had_by_name_from_any_folder(name, tmp_path, monkeypatch):
    """Also where a folder of that name, or a file, lies in the working directory."""
    monkeypatch.chdir(tmp_path)
    by_name, by_command = Denoiser.from_pretrained(name), load_denoiser(name)
    (tmp_path / name).mkdir()
    in_the_way = Denoiser.from_pretrained(name), load_denoiser(name)
    assert by_name.name == name
    assert by_name.dtype == torch.float32
    assert {each.name for each in (by_command, *in_the_way)} == {name}
    assert {each.identity for each in (by_command, *in_the_way)} == {by_name.identity}


def test_a_path_and_a_text_with_a_slash_name_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(bundle_folder("digits") / "denoiser", "cifar10")
    digits = Denoiser.from_pretrained("digits").identity
    for folder in (Path("cifar10"), "./cifar10", str(tmp_path / "cifar10")):
        assert Denoiser.from_pretrained(folder).identity == digits
    assert load_denoiser("./cifar10").identity == digits
    assert load_denoiser("cifar10").identity != digits


def test_a_folder_without_a_pipeline_is_refused_where_only_a_path_can_mean_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("cifar10").mkdir()
    with pytest.raises(FileNotFoundError, match=r"^cifar10 holds no model_index\.json; a denoiser is a folder made by"):
        Denoiser.from_pretrained(Path("cifar10"))


@pytest.mark.parametrize("name", ["cifar10", "chest-xrays"])
def test_weights_in_half_precision_are_computed_with_in_single(name):
    stored = load_file(bundle_folder(name) / "denoiser" / "unet" / "diffusion_pytorch_model.fp16.safetensors")
    loaded = Denoiser.from_pretrained(name).unet.state_dict()
    assert {weight.dtype for weight in stored.values()} == {torch.float16}
    assert {weight.dtype for weight in loaded.values()} == {torch.float32}
    assert all(torch.equal(loaded[key], weight.float()) for key, weight in stored.items())


def test_the_denoiser_of_photographs_takes_noise_out_of_a_smooth_picture():
    """A smooth ramp of colour is no picture of CIFAR-10, and yet nine tenths of the noise's energy are removed."""
    denoiser = Denoiser.from_pretrained("cifar10")
    x, y = torch.meshgrid(torch.linspace(0, 1, 32), torch.linspace(0, 1, 32), indexing="xy")
    image = torch.stack([0.2 + 0.5 * x, 0.3 + 0.4 * y, 0.6 - 0.3 * x])[None].expand(8, -1, -1, -1)
    denoiser.check_size(image)
    t = denoiser.timestep(0.2)
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    error = (denoiser.denoise(denoiser.add_noise(image, t, noise), t) - image).square().mean()
    assert error < 0.1 * denoiser.sigma(t) ** 2 / 4


def test_training_starts_from_a_bundled_denoiser_by_name(tmp_path, monkeypatch):
    """The start is found before the data is missed."""
    monkeypatch.chdir(tmp_path)
    for start, missing in (("cifar10", "nowhere"), ("./cifar10", "cifar10 to start from")):
        with pytest.raises(FileNotFoundError, match=f"^there is no folder {missing}$"):
            train_denoiser(DenoiserTraining(data="nowhere", start_from=start, channels=3), tmp_path / "mine")


# --- what is not there ---


def test_a_bundle_of_a_denoiser_alone_is_refused_with_the_call_that_loads_it():
    refused = "the bundle cifar10 holds a denoiser alone; load it by Denoiser.from_pretrained('cifar10')"
    with pytest.raises(ValueError, match=f"^{re.escape(refused)}$"):
        load_bundle("cifar10")


def test_an_unknown_bundle_is_refused():
    refused = "there is no bundle 'faces'; bundled are digits, chest-xrays, cifar10"
    with pytest.raises(ValueError, match=f"^{re.escape(refused)}$"):
        load_bundle("faces")


def test_a_bundle_without_a_vae_is_refused_as_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused = "there is no folder chest-xrays; name another, or a bundled VAE: digits"
    with pytest.raises(FileNotFoundError, match=f"^{re.escape(refused)}$"):
        load_vae("chest-xrays")


@pytest.mark.parametrize("name", ["chest-xrays", "chest-xrays-judge"])
def test_the_networks_of_x_rays_are_models_by_name(name, x_rays):
    network = x_rays.judge if name.endswith("judge") else x_rays.classifier
    box = load_black_box(name)
    assert box.class_names == ("normal", "pneumonia")
    assert torch.allclose(box(x_rays.images[:4]), network(x_rays.images[:4]).log_softmax(dim=1), atol=1e-4)


@pytest.mark.parametrize("name", BUNDLES)
def test_each_bundle_says_where_its_data_came_from_and_how_it_was_trained(name):
    text = (bundle_folder(name) / "ATTRIBUTION.md").read_text()
    source, licence = {
        "digits": ("Alpaydin, Kaynak", "creativecommons.org/licenses/by/4.0/"),
        "chest-xrays": ("MedMNIST", "creativecommons.org/licenses/by/4.0/"),
        "cifar10": ("Krizhevsky", "No picture of CIFAR-10 is here"),
    }[name]
    assert source in text
    assert licence in text
    for weights in bundle_folder(name).glob("*/"):
        if weights.is_dir():
            assert json.loads((weights / "training.json").read_text())["settings"]["steps"] > 0
    pictures = [path.name for path in bundle_folder("cifar10").rglob("*") if path.suffix in SUFFIXES]
    assert pictures == []
