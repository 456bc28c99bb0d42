"""Known pictures in folders of classes: only those of the target are asked about."""

from __future__ import annotations

import re

import pytest
import tiny
import torch

from baselines import NearestImage
from freemcg import BlackBox
from freemcg.commands.app import main
from freemcg.comparison.labels import check_covered, labels_of
from freemcg.files.images import read_for
from freemcg.files.listing import list_images
from freemcg.models.load import load_black_box, load_denoiser
from freemcg.results import Counterfactual

NAMED = BlackBox(lambda images: torch.zeros(len(images), 3), class_names=["cat", "dog", "2"])


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["cat/a.png", "cat/deep/b.png", "dog/a.png"], [0, 0, 1]),
        (["1/a.png", "2/a.png", "0/a.png"], [1, 2, 0]),
        (["cat/a.png", "b.png"], None),
        (["cat/a.png", "owl/b.png"], None),
        (["3/a.png"], None),
    ],
)
def test_a_folder_is_a_class_by_its_name_or_else_its_index(names, labels):
    assert labels_of(names, NAMED) == labels


def test_without_known_classes_a_number_is_no_class():
    assert labels_of(["1/a.png"], BlackBox(lambda images: images)) is None


def test_the_target_or_else_each_class_must_have_a_picture():
    check_covered([0, 1, 2], None, NAMED)
    check_covered([1], 1, NAMED)
    with pytest.raises(ValueError, match=r"^--references has no picture of the target, dog; add a folder of that name"):
        check_covered([0], 1, NAMED)
    with pytest.raises(
        ValueError, match=r"no picture of 2 of the 3 classes, such as dog, and the runner-up may be any"
    ):
        check_covered([0], None, NAMED)


@pytest.fixture
def place(tmp_path, pipeline, monkeypatch):
    """A user's folder with known pictures of three classes, and the words of the command."""
    monkeypatch.chdir(tmp_path)
    tiny.make_place(tmp_path, ("a.png", "b.png"))
    tiny.make_pictures(tmp_path / "known", ("0/0.png", "0/1.png", "0/2.png", "1/3.png", "1/4.png", "2/5.png"))
    words = ["--model", "mine.py:brighter_right", "--num-classes", "3"]
    words += ["--method", "nearest_image", "--references", "known"]
    return words, ["counterfactual", "pics", "--denoiser", str(pipeline), "--device", "cpu", *words]


@pytest.mark.parametrize("target", [None, "1"])
def test_only_pictures_of_the_target_are_asked_and_the_most_is_said_before(place, tmp_path, capsys, target):
    words, run = place
    assert main(["plan", "pics", "--task", "counterfactual", *words]) == 0
    planned = capsys.readouterr()
    assert tiny.asked(tmp_path) == []
    assert main([*run, "--out", "out", *([] if target is None else ["--target", target])]) == 0
    said = capsys.readouterr().err
    line = "references: 6; each lies in a folder named as its class, so only those of the target are asked"
    assert line in said
    assert line in planned.err
    assert "to do: 2, at most 4 queries each" in said
    assert "queries: at most 8, in 8 requests" in planned.out
    denoiser, black_box = load_denoiser(run[3]), load_black_box("mine.py:brighter_right", num_classes=3)
    known = torch.stack([read_for(denoiser, path) for path in list_images(tmp_path / "known")])
    spent = sum(tiny.asked(tmp_path))
    search = NearestImage(black_box, denoiser, images=known, labels=[0, 0, 0, 1, 1, 2], confidence=0.999)
    queries = 0
    for name in "ab":
        kept = Counterfactual.load(tmp_path / "out" / name / "result.safetensors")
        image = read_for(denoiser, tmp_path / "pics" / f"{name}.png")
        found = search.counterfactual(image, None if target is None else int(target))
        assert torch.equal(kept.image, found.image)
        assert kept.queries == found.queries
        queries += kept.queries
    assert queries == spent


def test_pictures_that_are_in_no_folder_of_a_class_are_all_asked(place, tmp_path, capsys):
    (tmp_path / "known" / "2").rename(tmp_path / "known" / "others")
    assert main([*place[1], "--out", "out"]) == 0
    said = capsys.readouterr().err
    assert "references: 6; not each lies in a folder named as a class, so those of any class are asked" in said
    assert "to do: 2, at most 7 queries each" in said


def test_a_folder_with_another_name_is_another_setting(place, tmp_path, capsys):
    run = [*place[1], "--target", "1", "--out", "out"]
    (tmp_path / "known" / "2" / "5.png").unlink()
    assert main(run) == 0
    (tmp_path / "known" / "1").rename(tmp_path / "known" / "moved")
    (tmp_path / "known" / "0").rename(tmp_path / "known" / "1")
    (tmp_path / "known" / "moved").rename(tmp_path / "known" / "2")
    assert main(run) == 2
    assert re.search("out holds results made with another search|made with other settings", capsys.readouterr().err)


@pytest.mark.parametrize("target", [None, "2"])
def test_a_class_without_a_picture_is_refused_before_the_first_query(place, tmp_path, capsys, target):
    (tmp_path / "known" / "2" / "5.png").unlink()
    assert main([*place[1], "--out", "out", *([] if target is None else ["--target", target])]) == 2
    said = capsys.readouterr().err
    lacking = "1 of the 3 classes, such as 2, and the runner-up may be any" if target is None else "the target, 2; add"
    assert f"--references has no picture of {lacking}" in said
    assert tiny.asked(tmp_path) == []
