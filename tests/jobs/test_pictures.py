"""A picture of a job is decoded once, and is explained as it was when it was decoded."""

from __future__ import annotations

import json

import pytest
import tiny
import torch
from folders import run_job
from PIL import Image

from freemcg import Attribution, BlackBox, Denoiser, FreeMCG
from freemcg.files.images import read_image
from freemcg.jobs import pictures
from freemcg.jobs.items import items_of
from freemcg.jobs.listing import list_pictures
from freemcg.jobs.pictures import Pictures

AGAIN = 1  # the query of a start that finds results, to see whether the model is the same
NAMES = ("a.png", "b.png", "c.png")


@pytest.fixture
def denoiser(pipeline):
    return Denoiser.from_pretrained(pipeline)


@pytest.fixture
def opened(monkeypatch):
    """The pictures that were decoded, in turn."""
    found, opens = [], Image.open

    def open_(source, *more, **given):
        found.append(source.name)
        return opens(source, *more, **given)

    monkeypatch.setattr(Image, "open", open_)
    return found


def explainer(denoiser, classify):
    return FreeMCG(BlackBox(classify), denoiser, particles=12, queries=9, noise=0.3)


def brighter_right(images):
    light = images.mean(dim=(1, 2)) @ torch.linspace(-1, 1, 8)
    return torch.stack([light, -light], dim=1)


@pytest.mark.parametrize(("bytes_", "again"), [(2**28, []), (8 * 8 * 4, ["b.png", "c.png"]), (0, list(NAMES))])
def test_pictures_that_do_not_fit_are_decoded_again_and_are_the_same(
    denoiser, tmp_path, monkeypatch, opened, bytes_, again
):
    listing = list_pictures(tiny.make_pictures(tmp_path / "pics", NAMES), tmp_path / "out")
    expected = [read_image(path, channels=1) for path in listing.files.values()]
    monkeypatch.setattr(pictures, "KEPT", bytes_)
    looked, items = Pictures(denoiser), items_of(listing, tmp_path / "out")
    opened.clear()
    assert looked.look_at(items, alone=False).unreadable == {}
    assert opened == list(NAMES)
    assert all(torch.equal(looked.take(item), image) for item, image in zip(items, expected, strict=True))
    assert opened[3:] == again


def test_a_picture_that_changes_before_its_turn_is_explained_as_it_was_and_anew_by_the_next_start(denoiser, tmp_path):
    images, out = tiny.make_pictures(tmp_path / "pics", NAMES[:2]), tmp_path / "out"
    before = read_image(images / "b.png", channels=1)

    def changes_the_next(asked):
        Image.new("L", (8, 8), 7).save(images / "b.png")
        return brighter_right(asked)

    run_job(explainer(denoiser, changes_the_next), images, out, task="attribution")
    assert torch.equal(Attribution.load(out / "b" / "result.safetensors").image, before)
    told = json.loads((out / "b" / "record.json").read_text())["picture"]
    again = explainer(denoiser, changes_the_next)
    run_job(again, images, out, task="attribution")
    assert again.black_box.queries == AGAIN + 9
    assert (Attribution.load(out / "b" / "result.safetensors").image == 7 / 255).all()
    assert json.loads((out / "b" / "record.json").read_text())["picture"] != told
