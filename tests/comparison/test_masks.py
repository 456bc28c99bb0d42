"""Masks of a comparison: what is read, what is refused before the first query, and what other masks change."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from freemcg import Denoiser
from freemcg.commands.app import main
from freemcg.comparison.cells import load_cell
from freemcg.comparison.masks import read_masks
from freemcg.comparison.pictures import read_pictures

NAMES = ("a.png", "deep/b.png")


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny.make_place(tmp_path, NAMES)
    for name in NAMES:
        draw(name, columns=range(3))
    return tmp_path


def draw(name, columns, size=(8, 8), folder="masks"):
    """Write a mask, white in some columns."""
    pixels = np.zeros(size, np.uint8)
    pixels[:, list(columns)] = 255
    path = Path(folder) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def compared(pipeline, *more):
    words = ["--model", "mine.py:brighter_right", "--denoiser", str(pipeline), "--config", "tiny.yaml"]
    words += ["--queries", "9", "--steps", "4", "--methods", "rise,geex", "--out", "out", "--device", "cpu"]
    return main(["compare", "pics", *words, *more])


def rows():
    with Path("out/comparison.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_maps_are_measured_by_masks_and_again_by_others_without_a_new_map(place, pipeline, capsys):
    assert compared(pipeline, "--masks", "masks") == 0
    asked = sum(tiny.asked(place))
    before = load_cell(place / "out", "a.png", "rise")
    light = before.values[0].double().clamp(min=0)
    assert before.figures["mass_in_mask"] == pytest.approx((light[:, :3].sum() / light.sum()).item())
    assert before.figures["pointing_in_mask"] == float(light.flatten().argmax() % 8 < 3)
    draw("a.png", columns=range(3, 8))
    assert compared(pipeline, "--masks", "masks") == 0
    assert "maps done before: 2; to do: 2, at most nothing to measure the maps" in capsys.readouterr().err
    after = load_cell(place / "out", "a.png", "rise")
    assert torch.equal(after.values, before.values)
    assert after.figures["mass_in_mask"] == pytest.approx(1 - before.figures["mass_in_mask"])
    assert sum(tiny.asked(place)) == asked + 1  # a function may not show that it has changed
    figures = [row["mass_in_mask"] for row in rows()]
    assert compared(pipeline) == 0
    assert [row["mass_in_mask"] for row in rows()] == figures != [""] * 4


def test_a_mask_is_cropped_as_its_picture(place, pipeline, capsys):
    wide = np.zeros((8, 16), np.uint8)
    Image.fromarray(wide).save("pics/a.png")
    draw("a.png", columns=range(4, 7), size=(8, 16))
    denoiser = Denoiser.from_pretrained(pipeline)
    pictures, _ = read_pictures(place / "pics" / "a.png", place / "out", denoiser)
    found = read_masks(place / "masks", pictures, denoiser)
    assert torch.equal(found["a.png"], (torch.arange(8) < 3).expand(8, 8))
    assert compared(pipeline, "--masks", "masks") == 0
    assert "the denoiser's: 1 of them, by up to 50 % of a picture\n" in capsys.readouterr().err


def spoil_size():
    draw("deep/b.png", columns=[1], size=(9, 8))


def spoil_content():
    draw("deep/b.png", columns=[])


def spoil_name():
    (Path("masks") / "deep" / "b.png").rename("masks/deep/c.png")


def spoil_file():
    (Path("masks") / "deep" / "b.png").write_bytes(b"no picture")


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (spoil_name, "pics/deep/b.png has no mask: there is no file masks/deep/b.png"),
        (spoil_size, "the mask masks/deep/b.png is 8x9, but its picture pics/deep/b.png is 8x8; save it with the size"),
        (spoil_content, "the mask masks/deep/b.png is empty where its picture is looked at; draw the object in white"),
        (spoil_file, "masks/deep/b.png is not a picture that Pillow can read"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused_before_the_first_query(place, pipeline, capsys, spoil, sentence):
    spoil()
    assert compared(pipeline, "--masks", "masks") == 2
    assert f"freemcg: {sentence}" in capsys.readouterr().err
    assert tiny.asked(place) == []


def test_a_recipe_with_masks_needs_them(place, pipeline, capsys):
    assert compared(pipeline, "--measures", "mask") == 2
    assert "the measure mask needs a mask for a.png; give --masks, or leave the measure out" in capsys.readouterr().err
    assert compared(pipeline, "--masks", "nowhere") == 2
    assert "there is no folder nowhere of masks" in capsys.readouterr().err
    assert main(["compare", "--masks", "masks"]) == 2
    assert "--masks masks are masks of your own pictures; name these too" in capsys.readouterr().err
    assert tiny.asked(place) == []
