"""Pictures that cannot be read are named, and left out of a comparison, a plan and a probe."""

from __future__ import annotations

import csv
import shutil

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


def test_a_probe_asks_about_the_first_pictures_that_can_be_read(place, words, capsys):
    assert main(["probe", *words]) == 0
    assert capsys.readouterr().err.startswith(
        "left out, cannot be read: 2 of them\npics/a.png is not a picture that Pillow can read\n"
    )
    assert sum(tiny.asked(place)) == 3


def test_a_probe_decodes_no_more_than_two_pictures(place, words, capsys):
    for name in ("0.png", "1.png"):
        shutil.copy(place / "pics" / "b.png", place / "pics" / name)
    assert main(["probe", *words]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("named", ["pics", "pics/a.png"])
def test_a_probe_is_refused_before_it_asks_if_no_picture_can_be_read(place, words, capsys, named):
    (place / "pics" / "b.png").unlink()
    assert main(["probe", named, *words[1:]]) == 2
    assert capsys.readouterr().err.endswith("pics/a.png is not a picture that Pillow can read\n")
    assert tiny.asked(place) == []


def test_a_plan_counts_the_pictures_that_can_be_read(place, words, capsys):
    """And a link to a picture that is not there is named as well."""
    (place / "pics" / "gone.png").symlink_to("nowhere.png")
    words = ["pics", *words[1:3], "--config", "tiny.yaml"]
    assert main(["plan", *words]) == 0
    said = capsys.readouterr()
    assert said.err == (
        "left out, cannot be read: 3 of them\npics/a.png is not a picture that Pillow can read\n"
        "pics/deep.png is not a picture that Pillow can read\n"
        "pics/gone.png is a link to nowhere.png, which is not there\n"
    )
    assert said.out.startswith("images: 1\n")
    (place / "pics" / "b.png").unlink()
    assert main(["plan", *words]) == 2
    assert capsys.readouterr().err.startswith("freemcg: no picture of pics can be read; the first: pics/a.png is ")


def test_a_picture_that_became_a_broken_link_is_left_out_by_the_next_start(place, words, capsys):
    words = ["attribute", *words, "--config", "tiny.yaml", "--out", "out"]
    shutil.copy(place / "pics" / "b.png", place / "pics" / "c.png")
    assert main(words) == 1
    before = tiny.asked(place)
    (place / "pics" / "c.png").unlink()
    (place / "pics" / "c.png").symlink_to("nowhere.png")
    capsys.readouterr()
    assert main(words) == 1
    assert "pics/c.png is a link to nowhere.png, which is not there\n" in capsys.readouterr().err
    assert sum(tiny.asked(place)) == sum(before) + 1  # the question whether the model is still the same
