from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
import tiny
import torch
from folders import list_items, run_job
from launched import launched
from PIL import Image
from ports import free_port
from tolerance import assert_same_map

from freemcg import Attribution, BlackBox, Counterfactual, Denoiser, FreeMCG
from freemcg.blackbox.cache import QueryCache
from freemcg.files.images import read_image, write_image
from freemcg.jobs import one, processes, start
from freemcg.jobs.plan import most_queries
from freemcg.messages.errors import InvalidValue
from freemcg.settings import ESTIMATES

AGAIN = 1  # the query of a start that finds results, to see whether the model is the same
WEIGHTS = torch.linspace(-3, 3, 64).reshape(8, 8)
SEARCH = {"queries": 12, "particles": 2, "steps": 4, "refresh": 2, "unpaid": 8, "strength": 0.5}


@pytest.fixture(scope="module")
def denoiser(pipeline):
    return Denoiser.from_pretrained(pipeline)


@pytest.fixture
def make_explainer(denoiser):
    def make(black_box=None, **settings):
        settings = {"particles": 12, "queries": 9, "noise": 0.3, "search": SEARCH, **settings}
        return FreeMCG(black_box or BlackBox(brighter_right), denoiser, **settings)

    return make


def brighter_right(images):
    light = (images.mean(dim=1) * WEIGHTS).sum(dim=(1, 2))
    return torch.stack([light, -light, torch.zeros_like(light)], dim=1)


def written(out):
    return {path: path.stat().st_mtime_ns for path in out.rglob("result.safetensors")}


@pytest.mark.parametrize(
    "name", ["...png", "..png", "summary.csv.png", "settings.json.png", "answers.sqlite.png", "report_files.png"]
)
def test_a_result_lies_below_the_folder_of_results_and_under_no_name_of_the_job(make_explainer, tmp_path, name):
    images, out = tiny.make_pictures(tmp_path / "pics", ("a.png",)), tmp_path / "results" / "out"
    (images / "a.png").rename(images / name)
    run_job(make_explainer(), images, out, task="attribution")
    assert [path.parent for path in tmp_path.rglob("result.safetensors")] == [out / name]
    assert sorted(path.name for path in out.iterdir()) == sorted([name, "report.html", "settings.json", "summary.csv"])


@pytest.mark.parametrize("name", ["mine.sqlite", "mine.sqlite-wal", "mine.sqlite-shm"])
def test_a_cache_that_the_user_named_keeps_its_place(make_explainer, tmp_path, monkeypatch, capsys, name):
    images, out = tiny.make_pictures(tmp_path / "pics", ("a.png", "mine.sqlite/b.png")), tmp_path / "out"
    (images / "a.png").rename(images / f"{name}.png")
    for queried in (True, False):
        explainer = make_explainer()
        monkeypatch.setattr(explainer.black_box.predict, "identity", "a text", raising=False)
        explainer.black_box.cache = QueryCache(out / "mine.sqlite")
        assert len(run_job(explainer, images, out, task="attribution")) == 2
        assert (explainer.black_box.queries > AGAIN) is queried
    assert "folder belongs" not in capsys.readouterr().err
    assert (out / "mine.sqlite").is_file()
    assert {path.parent for path in out.rglob("result.safetensors")} == {
        out / f"{name}.png",
        out / "mine.sqlite_" / "b",
    }


def test_folders_of_pictures_may_have_the_names_of_a_job(make_explainer, tmp_path):
    names = ("a.png", "summary.csv/b.png", "a/record.json/d.png", "a/figure.png", "a/figure.jpg", "settings.json/c.png")
    images, out = tiny.make_pictures(tmp_path / "pics", names), tmp_path / "out"
    rows = run_job(make_explainer(), images, out, task="attribution")
    assert len(rows) == len({path.parent for path in out.rglob("result.safetensors")}) == len(names)
    again = make_explainer()
    run_job(again, images, out, task="attribution")
    assert again.black_box.queries == AGAIN


@pytest.mark.parametrize("name", ["result.safetensors", "receipt.safetensors", "record.json"])
@pytest.mark.parametrize("damage", ["emptied", "halved", "removed", "flipped", "folder"])
def test_a_damaged_result_is_made_again_and_stops_nothing(make_explainer, tmp_path, capsys, name, damage):
    images, out = tiny.make_pictures(tmp_path / "pics", ("a.png", "b.png")), tmp_path / "out"
    run_job(make_explainer(), images, out, task="attribution")
    before, values = written(out), Attribution.load(out / "b" / "result.safetensors").values
    path = out / "b" / name
    content = path.read_bytes()
    flipped = content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]
    if damage in ("removed", "folder"):
        path.unlink()
    else:
        path.write_bytes({"emptied": b"", "halved": content[: len(content) // 2], "flipped": flipped}[damage])
    if damage == "folder":
        path.mkdir()
    again = make_explainer()
    capsys.readouterr()
    rows = run_job(again, images, out, task="attribution")
    said = "made again, since they are cut short or damaged: 1 of them" in capsys.readouterr().err
    assert said == (name != "result.safetensors" or damage != "removed")
    assert [row["image"] for row in rows] == ["a.png", "b.png"]
    assert again.black_box.queries == AGAIN + 9
    assert written(out)[out / "a" / "result.safetensors"] == before[out / "a" / "result.safetensors"]
    torch.testing.assert_close(Attribution.load(out / "b" / "result.safetensors").values, values)


@pytest.mark.parametrize("name", ["figure.png", "counterfactual.png"])
@pytest.mark.parametrize("damage", ["halved", "flipped", "removed", "folder"])
def test_a_damaged_picture_is_drawn_again_and_nothing_is_asked(make_explainer, tmp_path, name, damage):
    images, out = tiny.make_pictures(tmp_path / "pics", ("a.png",)), tmp_path / "out"
    run_job(make_explainer(), images, out, task="counterfactual")
    path = out / "a" / name
    content = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "removed":
        middle = len(content) // 2
        rest = bytes([content[middle] ^ 1]) + content[middle + 1 :] if damage == "flipped" else b""
        path.write_bytes(content[:middle] + rest)
    again = make_explainer()
    run_job(again, images, out, task="counterfactual")
    assert again.black_box.queries == AGAIN
    assert path.read_bytes() == content


@pytest.mark.parametrize("name", ["contribution.png", "contribution.safetensors"])
@pytest.mark.parametrize("damage", ["halved", "removed", "folder", "never written"])
def test_a_contribution_costs_nothing_and_is_written_where_it_is_missing(make_explainer, tmp_path, name, damage):
    images, out = tiny.make_pictures(tmp_path / "pics", ("a.png",)), tmp_path / "out"
    first = make_explainer()
    run_job(first, images, out, task="attribution", contribution=damage != "never written")
    assert first.black_box.queries == 9
    path, before = out / "a" / name, written(out)
    if damage == "never written":
        assert not path.exists()
    else:
        content = path.read_bytes()
        path.unlink()
        if damage == "folder":
            path.mkdir()
        elif damage == "halved":
            path.write_bytes(content[: len(content) // 2])
    again = make_explainer()
    run_job(again, images, out, task="attribution", contribution=True)
    assert again.black_box.queries == AGAIN
    assert written(out) == before
    wanted = Attribution.load(out / "a" / "result.safetensors").contribution()
    found = Attribution.load(out / "a" / "contribution.safetensors")
    for field in ("values", "standard_error", "baseline"):
        assert torch.equal(getattr(found, field), getattr(wanted, field))
    assert (out / "a" / "contribution.png").read_bytes().startswith(b"\x89PNG")


def test_no_contribution_of_another_picture_is_left_beside_a_result(make_explainer, tmp_path):
    images, out = tiny.make_pictures(tmp_path / "pics", ("a.png", "b.png")), tmp_path / "out"
    run_job(make_explainer(), images, out, task="attribution", contribution=True)
    (images / "b.png").write_bytes((images / "a.png").read_bytes())
    run_job(make_explainer(), images, out, task="attribution")
    assert (out / "a" / "contribution.safetensors").exists()
    assert not list((out / "b").glob("contribution.*"))


def test_a_file_in_the_place_of_a_folder_of_results_is_set_aside(make_explainer, tmp_path, capsys):
    images, out = tiny.make_pictures(tmp_path / "pics", ("deep/a.png",)), tmp_path / "out"
    out.mkdir()
    (out / "deep").write_text("mine")
    run_job(make_explainer(), images, out, task="attribution")
    assert (out / "deep" / "a" / "result.safetensors").is_file()
    assert (out / "deep.damaged").read_text() == "mine"
    said = f"{out / 'deep'} is a file where a folder belongs; it is kept as {out / 'deep'}.damaged"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("task", ["attribution", "counterfactual"])
def test_a_figure_that_cannot_be_drawn_loses_no_result_and_is_drawn_by_the_next_start(
    make_explainer, tmp_path, monkeypatch, capsys, task
):
    images, out = tiny.make_pictures(tmp_path / "pics", ("a.png", "b.png")), tmp_path / "out"

    def no_figure(figure, path):
        raise OSError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(one, "write_figure", no_figure)
        patched.setattr(one, "sentence_of", str)
        rows = run_job(make_explainer(), images, out, task=task)
    assert [row["image"] for row in rows] == ["a.png", "b.png"]
    said = [line for line in re.split("[\r\n]", capsys.readouterr().err) if "figure" in line]
    assert said == [
        f"{name}: the figure could not be drawn (the disk is full); the result is saved" for name in ("a.png", "b.png")
    ]
    again = make_explainer()
    run_job(again, images, out, task=task)
    assert again.black_box.queries == AGAIN
    assert (out / "a" / "figure.png").is_file()
    assert (out / "b" / "figure.png").is_file()


def test_a_class_name_may_hold_dollars(make_explainer, tmp_path):
    images, out = tiny.make_pictures(tmp_path / "pics", ("a.png",)), tmp_path / "out"
    named = BlackBox(brighter_right, class_names=["$x^{$", "$", "a$b"])
    run_job(make_explainer(named), images, out, task="counterfactual", target="$")
    assert (out / "a" / "figure.png").is_file()


@pytest.mark.parametrize("task", ["attribution", "counterfactual"])
def test_a_second_start_does_only_what_is_missing(make_explainer, tmp_path, task):
    images, out = tiny.make_pictures(tmp_path / "pics", ("a.png", "b.png", "deep/c.png")), tmp_path / "out"
    rows = run_job(make_explainer(), images, out, task=task)
    before = written(out)
    assert sorted(before) == [
        out / "a/result.safetensors",
        out / "b/result.safetensors",
        out / "deep/c/result.safetensors",
    ]
    kind = Attribution if task == "attribution" else Counterfactual
    lost = kind.load(out / "b" / "result.safetensors")
    (out / "b" / "result.safetensors").unlink()

    again = make_explainer()
    rows_again = run_job(again, images, out, task=task)
    after = written(out)
    assert {path for path in before if before[path] != after[path]} == {out / "b" / "result.safetensors"}
    found = kind.load(out / "b" / "result.safetensors")
    assert again.black_box.queries - AGAIN == found.queries == lost.queries
    tensor = "values" if task == "attribution" else "image"
    torch.testing.assert_close(getattr(found, tensor), getattr(lost, tensor), rtol=0, atol=0)
    assert [row["image"] for row in rows_again] == ["a.png", "b.png", "deep/c.png"]
    assert [row["decision"] for row in rows_again] == [row["decision"] for row in rows]

    idle = make_explainer()
    run_job(idle, images, out, task=task)
    assert idle.black_box.queries == AGAIN


def test_a_picture_that_was_changed_is_explained_anew_and_no_other(make_explainer, tmp_path):
    images, out = tiny.make_pictures(tmp_path / "pics", ("a.png", "b.png")), tmp_path / "out"
    run_job(make_explainer(), images, out, task="attribution")
    before = written(out)
    write_image(1 - read_image(images / "b.png", channels=1), images / "b.png")
    again = make_explainer()
    run_job(again, images, out, task="attribution")
    after = written(out)
    assert {path for path in before if before[path] != after[path]} == {out / "b" / "result.safetensors"}
    assert again.black_box.queries == AGAIN + 9
    stored = Attribution.load(out / "b" / "result.safetensors")
    torch.testing.assert_close(stored.image, read_image(images / "b.png", channels=1), rtol=0, atol=0)


@pytest.mark.parametrize("task", ["attribution", "counterfactual"])
def test_what_a_budget_cut_short_is_made_whole_by_the_next_start(make_explainer, tmp_path, task):
    images, out = tiny.make_pictures(tmp_path / "pics", ("a.png",)), tmp_path / "out"
    (whole,) = run_job(make_explainer(), images, tmp_path / "whole", task=task)
    poor = make_explainer(BlackBox(brighter_right, budget=5))
    (row,) = run_job(poor, images, out, task=task)
    assert row["status"] == "budget_exhausted"
    assert poor.black_box.queries <= 5
    (row,) = run_job(make_explainer(BlackBox(brighter_right, budget=100)), images, out, task=task)
    assert {**row, "seconds": 0} == {**whole, "seconds": 0}
    idle = make_explainer()
    run_job(idle, images, out, task=task)
    assert idle.black_box.queries == AGAIN


def test_what_broke_off_while_it_was_written_is_done_again(make_explainer, tmp_path, monkeypatch):
    images, out = tiny.make_pictures(tmp_path / "pics", ("a.png", "b.png")), tmp_path / "out"
    write = one.write_text

    def fail_at_b(path, text):
        if path.parent.name == "b":
            raise OSError("disk full")
        write(path, text)

    monkeypatch.setattr(one, "write_text", fail_at_b)
    with pytest.raises(OSError, match="disk full"):
        run_job(make_explainer(), images, out, task="attribution")
    assert list(written(out)) == [out / "a" / "result.safetensors"]
    monkeypatch.undo()
    second = make_explainer()
    run_job(second, images, out, task="attribution")
    assert second.black_box.queries == AGAIN + 9
    assert len(written(out)) == 2


def test_each_result_is_what_the_explainer_answers_for_the_picture(make_explainer, tmp_path):
    images, out = tiny.make_pictures(tmp_path / "pics", ("a.png", "b.png")), tmp_path / "out"
    run_job(make_explainer(), images, out, task="attribution", target=1)
    for name in ("a", "b"):
        image = read_image(images / f"{name}.png", channels=1)
        direct = make_explainer().explain(image, 1)
        stored = Attribution.load(out / name / "result.safetensors")
        torch.testing.assert_close(stored.image, image, rtol=0, atol=0)
        torch.testing.assert_close(stored.values, direct.values, rtol=0, atol=0)


def test_the_saved_picture_gets_the_decision_that_is_reported(make_explainer, tmp_path):
    images, out = tiny.make_pictures(tmp_path / "pics", ("a.png",)), tmp_path / "out"
    (row,) = run_job(make_explainer(), images, out, task="counterfactual")
    saved = read_image(out / "a" / "counterfactual.png", channels=1)
    answers = brighter_right(saved[None]).softmax(dim=1)[0]
    assert row["probability"] == pytest.approx(answers[int(row["target"])].item(), abs=1e-3)
    assert row["flipped"] == (int(answers.argmax()) == int(row["target"]))
    torch.testing.assert_close(saved, Counterfactual.load(out / "a" / "result.safetensors").image, rtol=0, atol=1e-6)


OTHERS = [
    ("seed", {"seed": 4}, "another seed (0 then, 4 now)"),
    ("queries", {"queries": 5}, "another queries (9 then, 5 now)"),
    ("tolerance", {"tolerance": 0.2}, "another tolerance (None then, 0.2 now)"),
    (
        "model",
        {"black_box": BlackBox(brighter_right, "label", num_classes=3)},
        "another scores (logits then, label now)",
    ),
]


@pytest.mark.parametrize(("settings", "sentence"), [other[1:] for other in OTHERS], ids=[other[0] for other in OTHERS])
def test_results_of_other_settings_are_not_mixed(make_explainer, tmp_path, settings, sentence):
    images, out = tiny.make_pictures(tmp_path / "pics", ("a.png",)), tmp_path / "out"
    run_job(make_explainer(), images, out, task="attribution")
    tiny.make_pictures(tmp_path / "pics", ("b.png",))
    other = make_explainer(**settings)
    with pytest.raises(ValueError, match="give another --out, or delete it to start anew") as caught:
        run_job(other, images, out, task="attribution")
    assert sentence in str(caught.value)
    assert other.black_box.queries == 0


def test_results_of_another_task_target_or_denoiser_are_not_mixed(make_explainer, tmp_path):
    images, out = tiny.make_pictures(tmp_path / "pics", ("a.png",)), tmp_path / "out"
    run_job(make_explainer(), images, out, task="attribution", target=1)
    with pytest.raises(ValueError, match=r"another task \(attribution then, counterfactual now\)"):
        run_job(make_explainer(), images, out, task="counterfactual", target=1)
    with pytest.raises(ValueError, match=r"another target \(1 then, None now\)"):
        run_job(make_explainer(), images, out, task="attribution")
    retrained = tiny.make_pipeline(tmp_path / "other")
    weights = Denoiser.from_pretrained(retrained)
    with torch.no_grad():
        next(weights.unet.parameters()).add_(1e-3)
    with pytest.raises(ValueError, match="another denoiser"):
        run_job(
            FreeMCG(BlackBox(brighter_right), weights, particles=12, queries=9, noise=0.3),
            images,
            out,
            task="attribution",
            target=1,
        )


def test_settings_that_do_not_bear_on_the_task_do_not_matter(make_explainer, tmp_path):
    images, out = tiny.make_pictures(tmp_path / "pics", ("a.png",)), tmp_path / "out"
    run_job(make_explainer(), images, out, task="attribution")
    idle = make_explainer(search={**SEARCH, "steps": 3})
    run_job(idle, images, out, task="attribution")
    assert idle.black_box.queries == AGAIN


def test_a_settings_file_of_something_else_is_refused(make_explainer, tmp_path):
    images, out = tiny.make_pictures(tmp_path / "pics", ("a.png",)), tmp_path / "out"
    out.mkdir()
    for text in ("{half", "[]", '{"task": "attribution"}'):
        (out / "settings.json").write_text(text)
        with pytest.raises(ValueError, match=r"settings\.json is not what a job writes"):
            run_job(make_explainer(), images, out, task="attribution")


@pytest.mark.parametrize("damage", ["emptied", "halved", "flipped", "flipped twice", "removed", "folder"])
def test_damaged_settings_stop_no_start_and_mix_no_results(make_explainer, tmp_path, capsys, damage):
    images, out = tiny.make_pictures(tmp_path / "pics", ("a.png",)), tmp_path / "out"
    run_job(make_explainer(), images, out, task="attribution")
    path = out / "settings.json"
    content = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "removed":
        flipped = content.replace(b'"seed": 0', b'"seed": 1')
        twice = flipped.replace(b"checksum", b"cHecksum")
        halved = content[: len(content) // 2]
        path.write_bytes({"emptied": b"", "halved": halved, "flipped": flipped, "flipped twice": twice}[damage])
    with pytest.raises(ValueError) as caught:
        run_job(make_explainer(seed=1), images, out, task="attribution")
    assert str(caught.value) == (
        f"{out / 'a'} holds a result made with other settings; give another --out, or delete {out} to start anew"
    )
    again = make_explainer()
    capsys.readouterr()
    run_job(again, images, out, task="attribution")
    assert again.black_box.queries == AGAIN
    assert path.read_bytes() == content
    said = capsys.readouterr().err
    assert (f"{path} was damaged, and is written anew" in said) == (damage not in ("removed", "folder"))


def test_a_start_that_ended_before_its_first_result_holds_no_folder(make_explainer, tmp_path):
    images, out = tiny.make_pictures(tmp_path / "pics", ("a.png",)), tmp_path / "out"

    def fails(images):
        raise KeyError("a slip in its first version")

    with pytest.raises(KeyError):
        run_job(make_explainer(BlackBox(fails)), images, out, task="attribution")
    assert (out / "settings.json").is_file()
    run_job(make_explainer(), images, out, task="attribution")
    other = tiny.make_pictures(tmp_path / "other", ("b.png",))
    with pytest.raises(InvalidValue, match=r"holds results made with another seed \(0 then, 1 now\)"):
        run_job(make_explainer(seed=1), other, out, task="attribution")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        pytest.param(
            "loop",
            r"can be no folder \(Symlink loop from .*\); give another --out",
            marks=pytest.mark.skipif(sys.version_info >= (3, 13), reason="such a path has an end there"),
        ),
        ("a\0b", r"can be no folder \(embedded null byte\); give another --out"),
        (os.fsdecode(b"\xff"), "has a name that is not UTF-8; give another --out"),
    ],
    ids=["loop", "null", "bytes"],
)
def test_a_folder_that_cannot_be_is_refused(tmp_path, name, why):
    images = tiny.make_pictures(tmp_path / "pics", ("a.png",))
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InvalidValue, match=why):
        list_items(images, tmp_path / name)


def halve(path):
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def test_bad_pictures_among_many_are_named_together_and_the_rest_is_explained(make_explainer, tmp_path, capsys):
    images, out = tiny.make_pictures(tmp_path / "pics", ("a.png", "b.png", "c.png")), tmp_path / "out"
    halve(images / "c.png")
    (images / "b.png").write_text("no picture")
    explainer = make_explainer()
    assert [row["image"] for row in run_job(explainer, images, out, task="attribution")] == ["a.png"]
    assert explainer.black_box.queries == 9
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "images: 3; done before: 0; to do: 1, at most 9 queries each"
    assert said[1:3] == ["left out, cannot be read: 2 of them", f"{images}/b.png is not a picture that Pillow can read"]
    assert said[3].startswith(f"{images}/c.png cannot be decoded, is it cut short? (")
    assert said[-1] == (
        "left out: 2 of 3 images, which cannot be read, as said at the start; mend or remove them, and start again"
    )
    assert [item.done for item in list_items(images, out)] == [True, False, False]
    tiny.make_pictures(images, ("b.png",))
    again = make_explainer()
    assert len(run_job(again, images, out, task="attribution")) == 2
    assert again.black_box.queries == AGAIN + 9


def test_a_long_list_of_bad_pictures_is_cut(make_explainer, tmp_path, capsys):
    images = tiny.make_pictures(tmp_path / "pics", ("a.png",))
    for index in range(23):
        (images / f"b{index:02}.png").touch()
    run_job(make_explainer(), images, tmp_path / "out", task="attribution")
    said = capsys.readouterr().err.splitlines()
    assert said[1] == "left out, cannot be read: 23 of them"
    assert said[21].startswith(f"{images}/b19.png")
    assert said[22] == "and 3 more"


def test_a_folder_of_bad_pictures_and_a_bad_picture_by_itself_are_refused(make_explainer, tmp_path):
    images = tiny.make_pictures(tmp_path / "pics", ("a.png", "b.png"))
    halve(images / "a.png")
    halve(images / "b.png")
    explainer = make_explainer()
    words = rf"no picture of {re.escape(str(images))} can be read; the first: .*a\.png cannot be decoded"
    with pytest.raises(InvalidValue, match=words):
        run_job(explainer, images, tmp_path / "out", task="attribution")
    with pytest.raises(InvalidValue, match=rf"^{re.escape(str(images))}/b\.png cannot be decoded"):
        run_job(explainer, images / "b.png", tmp_path / "out", task="attribution")
    assert explainer.black_box.queries == 0
    assert not (tmp_path / "out").exists()


def test_what_was_done_to_transparency_is_said_once(make_explainer, tmp_path, capsys):
    images = tiny.make_pictures(tmp_path / "pics", ("a.png", "b.png", "c.png"))
    for name, alpha in (("a", 0), ("b", 255)):
        with Image.open(images / f"{name}.png") as opened:
            picture = opened.convert("RGBA")
        picture.paste((0, 0, 0, alpha), (0, 0, 2, 2))
        picture.save(images / f"{name}.png")
    run_job(make_explainer(), images, tmp_path / "out", task="attribution")
    assert capsys.readouterr().err.count("transparent in part, laid on white: 1 of them\n") == 1
    assert (Attribution.load(tmp_path / "out" / "a" / "result.safetensors").image[:, :2, :2] == 1).all()


def test_pictures_that_differ_in_suffix_keep_their_own_results(tmp_path):
    names = ("a.png", "a.jpg", "a.png.bmp", "b.png", "deep/a.png")
    images = tiny.make_pictures(tmp_path / "pics", names)
    folders = {
        item.name: str(item.folder.relative_to(tmp_path / "out")) for item in list_items(images, tmp_path / "out")
    }
    assert folders == {
        "a.jpg": "a.jpg",
        "a.png": "a.png",
        "a.png.bmp": "a.png.bmp",
        "b.png": "b",
        "deep/a.png": "deep/a",
    }


def test_results_inside_the_folder_of_images_are_not_explained_again(make_explainer, tmp_path):
    images = tiny.make_pictures(tmp_path / "pics", ("a.png",))
    for _ in range(2):
        assert len(run_job(make_explainer(), images, images / "out", task="counterfactual")) == 1


def test_resizing_is_said_once(make_explainer, tmp_path, capsys):
    images = tiny.make_pictures(tmp_path / "pics", ("a.png", "b.png"), side=16)
    tiny.make_pictures(images, ("c.png",))
    run_job(make_explainer(), images, tmp_path / "out", task="attribution")
    printed = capsys.readouterr().err
    assert printed.count("resized to the denoiser's 8x8: 2 of them") == 1
    assert "cut off" not in printed
    assert Attribution.load(tmp_path / "out" / "a" / "result.safetensors").image.shape == (1, 8, 8)


def test_edges_that_are_cut_off_are_said_before_the_first_query(make_explainer, tmp_path, capsys):
    images = tiny.make_pictures(tmp_path / "pics", ("a.png", "b.png", "c.png"))
    for name, size in (("b.png", (16, 8)), ("c.png", (9, 12))):
        with Image.open(images / name) as picture:
            picture.resize(size).save(images / name)
    run_job(make_explainer(), images, tmp_path / "out", task="attribution")
    said = "cut off at two edges, since their shape is not the denoiser's: 2 of them, by up to 50 % of a picture\n"
    assert said in capsys.readouterr().err.split("attributions: ")[0]


@pytest.mark.parametrize("estimate", ESTIMATES)
@pytest.mark.parametrize(("queries", "noise"), [(8, 0.3), (10, (0.2, 0.4))])
def test_the_price_of_an_attribution_is_known_before(make_explainer, tmp_path, estimate, queries, noise):
    explainer = make_explainer(estimate=estimate, queries=queries, noise=noise)
    image = read_image(tiny.make_pictures(tmp_path, ("a.png",)) / "a.png", channels=1)
    assert explainer.explain(image).queries == most_queries(explainer.settings, "attribution")


@pytest.mark.parametrize(
    "search", [SEARCH, {**SEARCH, "steps": 5, "queries": 15}, {"method": "paper", "particles": 3, "steps": 4}]
)
def test_the_price_of_a_counterfactual_is_known_before(make_explainer, tmp_path, search):
    explainer = make_explainer(search=search)
    image = read_image(tiny.make_pictures(tmp_path, ("a.png",)) / "a.png", channels=1)
    result = explainer.counterfactual(image)
    most = most_queries(explainer.settings, "counterfactual")
    assert result.queries == explainer.black_box.queries <= most
    if search.get("method") == "paper" or result.target_probability < 0.99:  # each candidate was asked about
        assert result.queries == most


def test_an_attribution_with_a_tolerance_costs_at_most_its_price(make_explainer, tmp_path):
    image = read_image(tiny.make_pictures(tmp_path, ("a.png",)) / "a.png", channels=1)
    for tolerance, wanted in ((1000.0, 33), (1e-9, 51)):
        explainer = make_explainer(queries=51, tolerance=tolerance)
        assert explainer.explain(image).queries == wanted
        assert most_queries(explainer.settings, "attribution") == 51


def test_the_summary_has_a_row_an_image(make_explainer, tmp_path, capsys):
    images, out = tiny.make_pictures(tmp_path / "pics", ("a.png", "b.png")), tmp_path / "out"
    rows = run_job(
        make_explainer(BlackBox(brighter_right, class_names=["right", "left", "even"])), images, out, task="attribution"
    )
    with (out / "summary.csv").open(newline="") as stream:
        stored = list(csv.DictReader(stream))
    assert [row["image"] for row in stored] == ["a.png", "b.png"]
    assert [row["decision"] for row in stored] == [row["decision"] for row in rows] == ["right", "left"]
    assert [row["queries"] for row in stored] == ["9", "9"]
    table = capsys.readouterr().out.splitlines()
    assert table[0].split()[:3] == ["image", "decision", "probability"]
    assert table[1].split()[:2] == ["a.png", "right"]


def test_records_are_json_even_without_a_signal(make_explainer, tmp_path):
    images, out = tiny.make_pictures(tmp_path / "pics", ("a.png",)), tmp_path / "out"
    flat = BlackBox(lambda images: torch.zeros(len(images), 3))
    run_job(make_explainer(flat), images, out, task="attribution")
    text = (out / "a" / "record.json").read_text()
    record = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert record["status"] == "no_signal"
    assert record["signal to noise"] == 0


def command(pipeline, out, model="brighter_right"):
    """The words that a user types after `python` or `accelerate launch`."""
    options = ["--model", f"mine.py:{model}", "--denoiser", str(pipeline), "--config", "tiny.yaml"]
    return ["-m", "freemcg", "attribute", "pics", "--out", out, "--device", "cpu", *options]


@pytest.mark.parametrize(("processes", "threads", "asked"), [(2, 1, [2 * 9, 9]), (3, 2, [9, 9, 9])])
def test_several_processes_answer_as_one(make_explainer, pipeline, tmp_path, processes, threads, asked):
    place = tiny.make_place(tmp_path)
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes)]
    launcher += ["--main_process_port", free_port(), *command(pipeline, "two")]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        launcher, cwd=place, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert tiny.asked(place) == asked
    assert done.stdout.count("the results are in two") == 1
    run_job(make_explainer(), place / "pics", place / "one", task="attribution")
    for name in ("a", "b", "deep/c"):
        one, two = (Attribution.load(place / out / name / "result.safetensors") for out in ("one", "two"))
        assert_same_map(one.values, two.values)
        assert_same_map(one.standard_error, two.standard_error)
        assert one.queries == two.queries


def run_in_two(pipeline, place, model="brighter_right"):
    """The exit statuses of both processes, and the texts of their error streams."""
    return launched(2, command(pipeline, "two", model), place)


def test_a_bad_picture_of_the_second_process_is_named_by_the_first(pipeline, tmp_path):
    place = tiny.make_place(tmp_path)
    halve(place / "pics" / "b.png")
    statuses, said = run_in_two(pipeline, place)
    assert statuses == [1, 1]
    assert said[0].count("left out, cannot be read: 1 of them\npics/b.png cannot be decoded, is it cut short? (") == 1
    assert said[0].endswith("as said at the start; mend or remove them, and start again\n")
    assert "left out" not in said[1]
    assert tiny.asked(place) == [9, 9]
    assert len(written(place / "two")) == 2


def test_a_folder_of_bad_pictures_is_refused_once_by_two_processes(pipeline, tmp_path):
    place = tiny.make_place(tmp_path)
    for path in (place / "pics").rglob("*.png"):
        halve(path)
    statuses, said = run_in_two(pipeline, place)
    assert statuses == [2, 2]
    assert said[0].splitlines()[-1].startswith("freemcg: no picture of pics can be read; the first: pics/a.png cannot")
    assert "freemcg: " not in said[1]


def test_a_wrong_answer_in_the_second_process_is_said_by_the_first_and_its_results_are_kept(pipeline, tmp_path):
    place = tiny.make_place(tmp_path)
    statuses, said = run_in_two(pipeline, place, "answers_nan_elsewhere")
    assert statuses == [2, 2]
    assert said[0].splitlines()[-1] == (
        "freemcg: the black box answered NaN or infinity for image 0 of 1"
        "; its answer must be finite numbers, so try it in float32"
    )
    assert "freemcg: " not in said[1]
    assert "Traceback" not in "".join(said)
    assert tiny.asked(place) == [2 * 9, 1]
    assert len(written(place / "two")) == 2


@pytest.mark.parametrize(("rank", "error"), [(0, ValueError), (1, SystemExit)])
def test_what_another_process_refuses_stops_this_one_before_the_first_query(
    make_explainer, tmp_path, monkeypatch, rank, error
):
    images = tiny.make_pictures(tmp_path / "pics", ("a.png", "b.png", "c.png"))
    state = SimpleNamespace(process_index=rank, num_processes=3, is_main_process=rank == 0)
    monkeypatch.setattr(start, "PartialState", lambda: state)
    others = [(None, None), ((2, "c.png cannot be decoded"), None)]
    monkeypatch.setattr(processes, "gather_object", lambda own: [*own, *others])
    explainer = make_explainer()
    with pytest.raises(error) as caught:
        run_job(explainer, images, tmp_path / "out", task="attribution")
    assert str(caught.value) == ("c.png cannot be decoded" if rank == 0 else "2")
    assert explainer.black_box.queries == 0
    assert not (tmp_path / "out").exists()


def test_what_to_change_is_said_where_there_was_no_signal(make_explainer, tmp_path, capsys):
    images = tiny.make_pictures(tmp_path / "pics", ("a.png", "b.png"))
    flat = BlackBox(lambda images: torch.zeros(len(images), 3))
    run_job(make_explainer(flat), images, tmp_path / "out", task="attribution")
    said = capsys.readouterr().err
    assert (
        "no_signal: 2 of 2; no answer told the target from the rest. Raise noise in --config, then --queries\n" in said
    )
