"""Every recipe on pictures and models of the user's own: small photographs, and the bundled X-rays."""

from __future__ import annotations

import csv
from pathlib import Path

import diffusers
import pytest
import torch
from unets import tiny_unet

from freemcg.commands.app import main
from freemcg.comparison.recipe import read_recipe, recipes
from freemcg.files.images import write_image
from freemcg.models.architectures import ConvVAE, save_network
from freemcg.models.bundle import load_bundle

TINY = ("--steps", "4", "--queries", "41", "--searched", "0", "--device", "cpu")
MODEL = """\
import torch

torch.manual_seed(0)
net = torch.nn.Sequential(
    torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Softplus(), torch.nn.Flatten(), torch.nn.Linear(256, 3)
).eval()
"""
NEEDS = {
    "manifold-ig": "straight in latent space needs a VAE of such images: give --vae FOLDER, which freemcg train vae",
    "tangentially-aligned-ig": "IG from the data mean: the base-point data_mean needs other images of this kind: give "
    "--references FOLDER",
}
"""What the recipes ask for that take more than pictures, a model and a denoiser."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A user's folder: a model, a denoiser and a VAE of colour pictures, one picture, and others of its kind."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "mine.py").write_text(MODEL)
    torch.manual_seed(0)
    unet = tiny_unet(in_channels=3, out_channels=3)
    diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler(num_train_timesteps=20)).save_pretrained(
        folder / "photographs"
    )
    arguments = {"channels": 3, "image_size": 8, "latent": 2, "width": 4}
    save_network(ConvVAE(**arguments), folder / "vae", "conv_vae", arguments)
    for name in ("pics", "others"):
        (folder / name).mkdir()
    write_image(torch.rand(3, 8, 12), folder / "pics" / "photo.png")
    for number in range(3):
        write_image(torch.rand(3, 8, 8), folder / "others" / f"{number}.png")
    return folder


def compared(name, *more):
    words = ["--model", "mine.py:net", "--denoiser", "photographs", "--config", name, *TINY]
    return main(["compare", "pics", *words, *more])


def rows(out):
    with (Path(out) / "comparison.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("name", recipes())
def test_every_recipe_takes_photographs_and_says_what_else_it_needs(name, place, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(place)
    if name in NEEDS:
        assert compared(name, "--out", str(tmp_path / "refused")) == 2
        assert f"freemcg: {NEEDS[name]}" in capsys.readouterr().err
        assert not (tmp_path / "refused").exists()
    assert compared(name, "--vae", "vae", "--references", "others", "--out", str(tmp_path / "out")) == 0
    assert [row["method"] for row in rows(tmp_path / "out")] == [each.name for each in read_recipe(name).methods]
    assert [row["error"] for row in rows(tmp_path / "out")] == [""] * len(read_recipe(name).methods)


@pytest.mark.parametrize("model", ["mine.py:net", "chest-xrays"])
def test_own_pictures_and_another_model_than_the_digits_need_a_named_denoiser(
    model, place, monkeypatch, tmp_path, capsys
):
    """The denoiser of digits would make them small and grey, and the model would refuse the first query or mislead."""
    monkeypatch.chdir(place)
    words = ["--model", model, "--methods", "gradient", "--out", str(tmp_path / "o")]
    assert main(["compare", "pics", *words, *TINY]) == 2
    assert capsys.readouterr().err == (
        f"freemcg: --model {model} is none of the bundled digits, so it needs --denoiser: a diffusion model of such "
        "pictures, as a folder, a repository on the hub, or the bundled digits, chest-xrays or cifar10\n"
    )
    assert not (tmp_path / "o").exists()


def test_x_rays_take_a_recipe_of_maps(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pics").mkdir()
    write_image(load_bundle("chest-xrays").images[0], tmp_path / "pics" / "chest.png")
    words = ["--model", "chest-xrays", "--denoiser", "chest-xrays", "--config", "guided-ig", *TINY, "--out", "out"]
    assert main(["compare", "pics", *words]) == 0
    assert {row["error"] for row in rows("out")} == {""}


def test_maps_of_other_references_are_not_mixed(place, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(place)
    given = ["--methods", "expected_gradients,gradient", "--references", "others", "--out", str(tmp_path / "out")]
    assert compared("guided-ig", *given, "--measures", "completeness") == 0
    write_image(torch.zeros(3, 8, 8), place / "others" / "3.png")
    assert compared("guided-ig", *given) == 2
    assert "expected_gradients.safetensors holds a result made with other settings" in capsys.readouterr().err
    (place / "others" / "3.png").write_bytes(b"no picture")
    assert compared("guided-ig", *given) == 2
    assert "freemcg: a reference cannot be read: others/3.png is not a picture" in capsys.readouterr().err
    (place / "others" / "3.png").unlink()
    assert compared("guided-ig", *given) == 0
