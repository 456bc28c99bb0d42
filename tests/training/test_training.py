from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from freemcg import Denoiser
from freemcg.files.images import write_image
from freemcg.models.architectures import ConvVAE, load_network, save_network
from freemcg.models.digits import load_scans, render
from freemcg.settings import make
from freemcg.training import (
    ClassifierTraining,
    DenoiserTraining,
    VaeTraining,
    train_classifier,
    train_denoiser,
    train_vae,
)
from freemcg.training.data import Augmentation, ImageSet, load_training_images
from freemcg.training.loop import train
from freemcg.training.settings import Training

TINY_UNET = {
    "layers_per_block": 1,
    "block_out_channels": [8, 8],
    "down_block_types": ["DownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "UpBlock2D"],
    "norm_num_groups": 4,
}


@pytest.fixture
def folder(tmp_path, rng):
    """A folder with two classes of 8x8 pictures, dark and bright."""
    for name, level in (("bright", 0.8), ("dark", 0.2)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for index in range(20):
            picture = level + 0.1 * torch.randn(1, 8, 8, generator=rng)
            write_image(picture.clamp(0, 1), tmp_path / "pictures" / name / f"{index}.png")
    return tmp_path / "pictures"


def test_rendered_digits_are_the_documented_threshold():
    """In 8 bits, a scan without ink is sigmoid(-4.5), and the centre of a scan full of ink is sigmoid(5.5)."""
    scans = torch.stack([torch.zeros(8, 8), torch.full((8, 8), 16)]).to(torch.uint8)
    images = render(scans).double() / 255
    low, high = torch.sigmoid(torch.tensor([-4.5, 5.5], dtype=torch.double))
    assert images[0].max().item() == pytest.approx(low.item(), abs=0.5 / 255)
    assert images[1, 0, 15, 15].item() == pytest.approx(high.item(), abs=0.5 / 255)


def test_the_split_is_fixed_and_disjoint():
    (train_scans, train_labels), (test_scans, test_labels) = load_scans("train"), load_scans("test")
    assert (len(train_scans), len(test_scans)) == (1347, 450)
    assert torch.bincount(test_labels).min() >= 43  # stratified
    from sklearn.datasets import load_digits

    everything = torch.from_numpy(load_digits().images).to(torch.uint8).flatten(1)
    both = torch.cat([train_scans, test_scans]).flatten(1)
    order = lambda rows: sorted(map(tuple, rows.tolist()))  # noqa: E731
    assert order(both) == order(everything)
    assert len(train_labels) + len(test_labels) == 1797


def test_mirroring_and_shifts_do_what_they_say(rng):
    images = torch.rand(64, 1, 9, 9, generator=rng)
    mirrored = Augmentation(mirror=True)(images, rng)
    flips = (mirrored - images.flip(3)).abs().amax(dim=(1, 2, 3)) < 1e-5
    same = (mirrored - images).abs().amax(dim=(1, 2, 3)) < 1e-5
    assert (flips | same).all()
    assert 16 < flips.sum() < 48
    dot = torch.zeros(64, 1, 9, 9)
    dot[:, :, 4, 4] = 1
    shifted = Augmentation(shift=2.0)(dot, rng)[:, 0]
    rows = (shifted.sum(2) * torch.arange(9)).sum(1) / shifted.sum((1, 2))
    assert rows.min() >= 2 - 1e-4
    assert rows.max() <= 6 + 1e-4
    assert rows.max() - rows.min() > 2


def test_stopped_and_resumed_training_equals_undisturbed_training(tmp_path, rng):
    data = ImageSet((torch.rand(32, 1, 4, 4, generator=rng) * 255).to(torch.uint8))

    def loss(model, batch, labels, generator):
        noisy = batch + 0.1 * torch.randn(batch.shape, generator=generator)
        return (model(noisy.flatten(1)) - batch.mean(dim=(1, 2, 3))[:, None]).square().mean()

    def run(out, stop_at=None):
        torch.manual_seed(0)
        network = nn.Linear(16, 1)
        settings = Training(steps=12, batch_size=4, warmup=2, checkpoint_every=5, ema=0.9)

        def stopping(model, batch, labels, generator):
            calls.append(1)
            if stop_at is not None and len(calls) > stop_at:
                raise KeyboardInterrupt
            return loss(model, batch, labels, generator)

        calls: list[int] = []
        return train(network, stopping, data, settings, out, Accelerator()), len(calls)

    (whole, _), _ = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "halves", stop_at=8)
    (resumed, record), calls = run(tmp_path / "halves")
    assert calls == 7  # from the checkpoint after step 5
    assert record["loss_curve"][-1][0] == 12
    torch.testing.assert_close(resumed.weight, whole.weight, rtol=0, atol=0)


def test_classifier_of_a_folder_learns_it_and_is_loaded_again(folder, tmp_path):
    settings = ClassifierTraining(
        data=str(folder), image_size=8, width=4, steps=60, batch_size=16, learning_rate=0.01, holdout=0.25
    )
    record = train_classifier(settings, tmp_path / "classifier")
    assert record["held_out_images"] == 10
    assert record["held_out_accuracy"] == 1.0
    network, config = load_network(tmp_path / "classifier")
    assert config["class_names"] == ["bright", "dark"]
    images = load_training_images(str(folder), channels=1, image_size=8, progress=False)
    batch, labels = images.batch(torch.arange(40))
    assert (network(batch).argmax(dim=1) == labels).all()
    assert json.loads((tmp_path / "classifier" / "training.json").read_text())["settings"]["steps"] == 60


def test_a_config_names_the_classes_of_data_that_has_only_numbers(tmp_path):
    """At 28 pixels, a side that is not divisible by 8."""
    images = np.repeat(np.array([30, 220], dtype=np.uint8), 10)[:, None, None].repeat(28, axis=1).repeat(28, axis=2)
    np.savez(tmp_path / "chests.npz", images=images, labels=np.repeat([0, 1], 10))
    settings = ClassifierTraining(
        data=str(tmp_path / "chests.npz"), image_size=28, steps=1, class_names=["dark", "light"]
    )
    record = train_classifier(settings, tmp_path / "named")
    _, config = load_network(tmp_path / "named")
    assert config["class_names"] == record["settings"]["class_names"] == ["dark", "light"]
    refused = (
        f"class_names must name the 2 classes of {settings.data}, got dark, light, grey; "
        "name one after another, in the order of their numbers"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(refused)}$"):
        train_classifier(settings.model_copy(update={"class_names": ["dark", "light", "grey"]}), tmp_path / "other")


def test_denoiser_of_a_folder_learns_and_is_loaded_by_the_denoiser(folder, tmp_path):
    settings = DenoiserTraining(
        data=str(folder),
        image_size=8,
        steps=150,
        batch_size=16,
        learning_rate=0.005,
        warmup=10,
        ema=0.9,
        network=TINY_UNET,
        scheduler={"prediction_type": "v_prediction"},
    )
    train_denoiser(settings, tmp_path / "denoiser")
    denoiser = Denoiser.from_pretrained(tmp_path / "denoiser")
    assert (tmp_path / "denoiser" / "samples.png").is_file()
    images, _ = load_training_images(str(folder), channels=1, image_size=8, progress=False).batch(torch.arange(40))
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    t = denoiser.timestep(0.3)
    noisy = denoiser.add_noise(images, t, noise)
    restored = (denoiser.denoise(noisy, t) - images).square().mean()
    best_constant = images.var()
    assert restored < 0.5 * best_constant


@pytest.mark.parametrize("side", [8, 13])
def test_vae_of_a_folder_reconstructs_better_than_the_mean(folder, tmp_path, side):
    """At 13 pixels too, a side that is not divisible by 8."""
    settings = VaeTraining(
        data=str(folder), image_size=side, latent=2, width=4, steps=200, learning_rate=0.005, warmup=10
    )
    train_vae(settings, tmp_path / "vae")
    vae, _ = load_network(tmp_path / "vae")
    assert isinstance(vae, ConvVAE)
    images, _ = load_training_images(str(folder), channels=1, image_size=side, progress=False).batch(torch.arange(40))
    with torch.no_grad():
        assert (vae(images) - images).square().mean() < 0.3 * images.var()


def test_bad_training_input_is_one_sentence(folder, tmp_path):
    with pytest.raises(ValueError) as caught:
        make(DenoiserTraining, {"stepz": 3}, source="my.yaml")
    assert str(caught.value) == "my.yaml: unknown setting 'stepz'; did you mean 'steps'?"
    with pytest.raises(FileNotFoundError, match="there is no folder /nowhere"):
        load_training_images("/nowhere", channels=1, image_size=8, progress=False)
    with pytest.raises(ValueError, match="digits are 1x32x32 images; the config asks for 3x32x32"):
        load_training_images("digits", channels=3, image_size=32, progress=False)
    with pytest.raises(ValueError, match="has no classes; a classifier needs one subfolder a class"):
        train_classifier(ClassifierTraining(data=str(folder / "dark"), image_size=8), tmp_path / "out")
    write_image(torch.zeros(1, 8, 8), folder / "stray.png")
    with pytest.raises(ValueError, match="pictures both beside and inside class folders"):
        load_training_images(str(folder), channels=1, image_size=8, progress=False)


def test_a_network_folder_that_lacks_a_file_is_named(tmp_path):
    arguments = {"channels": 1, "image_size": 8, "latent": 2, "width": 4}
    save_network(ConvVAE(**arguments), tmp_path / "vae", "conv_vae", arguments)
    (tmp_path / "vae" / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"vae holds no model\.safetensors"):
        load_network(tmp_path / "vae")
