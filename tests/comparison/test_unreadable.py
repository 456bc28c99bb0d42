"""Pictures that cannot be read are named and left out of a comparison, and refused by a probe."""

from __future__ import annotations

import csv

import pytest
import tiny

from freemcg.commands.app import main


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny.make_place(tmp_path, ("b.png",))
    for name in ("a.png", "deep.png"):
        (tmp_path / "pics" / name).write_text("no picture")
    return tmp_path


@pytest.fixture
def words(pipeline):
    return ["pics", "--model", "mine.py:brighter_right", "--denoiser", str(pipeline)]


def test_a_comparison_names_all_bad_pictures_and_compares_the_rest(place, words, capsys):
    more = ["--config", "tiny.yaml", "--methods", "rise", "--queries", "9", "--steps", "4", "--out", "out"]
    assert main(["compare", *words, *more]) == 1
    said = capsys.readouterr().err
    assert said.startswith(
        "left out, cannot be read: 2 of them\n"
        "pics/a.png is not a picture that Pillow can read\npics/deep.png is not a picture that Pillow can read\n"
    )
    assert said.endswith(
        "left out: 2 of 3 images, which cannot be read, as said at the start; mend or remove them, and start again\n"
    )
    with (place / "out" / "comparison.csv").open(newline="") as stream:
        assert [row["image"] for row in csv.DictReader(stream)] == ["b.png"]
    (place / "pics" / "b.png").write_text("no picture")
    before = tiny.asked(place)
    assert main(["compare", *words, *more]) == 2
    assert capsys.readouterr().err == (
        "freemcg: no picture of pics can be read; the first: pics/a.png is not a picture that Pillow can read\n"
    )
    assert tiny.asked(place) == before


def test_a_probe_refuses_a_bad_picture_before_it_asks(place, words, capsys):
    assert main(["probe", *words]) == 2
    assert capsys.readouterr().err == "freemcg: pics/a.png is not a picture that Pillow can read\n"
    assert tiny.asked(place) == []
