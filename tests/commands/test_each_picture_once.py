"""A verb lists the pictures once and decodes each once, however many of its steps look at them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import tiny
from PIL import Image

from freemcg.commands.app import main

NAMES = ("a.png", "b.png", "deep/c.png")


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny.make_place(tmp_path, NAMES)
    for name in NAMES:
        mask = Path("masks") / name
        mask.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), "white").save(mask)
    return tmp_path


@pytest.fixture
def counted(place, monkeypatch):
    """How often each file was opened as a picture, and each folder listed."""
    opened, listed = Counter(), Counter()
    opens, lists = Image.open, Path.iterdir

    def open_(source, *more, **given):
        if isinstance(source, Path):
            opened[str(source)] += 1
        return opens(source, *more, **given)

    def iterdir(folder):
        listed[str(folder)] += 1
        return lists(folder)

    monkeypatch.setattr(Image, "open", open_)
    monkeypatch.setattr(Path, "iterdir", iterdir)
    return opened, listed


VERBS = {
    "attribute": ["attribute", "pics", "--out", "out"],
    "counterfactual": ["counterfactual", "pics", "--out", "out"],
    "compare": ["compare", "pics", "--out", "out", "--queries", "9", "--steps", "4", "--methods", "rise"],
    "compare with masks": [
        *("compare", "pics", "--out", "out", "--queries", "9", "--steps", "4", "--methods", "rise"),
        *("--masks", "masks"),
    ],
    "plan": ["plan", "pics"],
}


@pytest.mark.parametrize("verb", VERBS)
def test_the_pictures_are_listed_once_and_each_is_decoded_once(place, pipeline, counted, verb):
    words = ["--model", "mine.py:brighter_right", "--config", "tiny.yaml"]
    words += [] if verb == "plan" else ["--denoiser", str(pipeline), "--device", "cpu"]
    assert main([*VERBS[verb], *words]) == 0
    opened, listed = counted
    assert listed["pics"] == 1
    assert {name: opened[f"pics/{name}"] for name in NAMES} == dict.fromkeys(NAMES, 1)
