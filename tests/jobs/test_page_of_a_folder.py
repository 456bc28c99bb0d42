"""The page of a folder: which results belong to one image, and what a job does about it."""

from __future__ import annotations

import json

import pytest
import torch
from explanations import make_attribution, make_counterfactual
from safetensors.torch import save_file

from freemcg.commands.app import main
from freemcg.jobs import page
from freemcg.jobs.items import CONTRIBUTION, RECORD, RESULT
from freemcg.jobs.page import list_sources, try_to_write_page, write_page
from freemcg.messages.errors import InvalidValue


def make_attributed(folder, name=None):
    make_attribution().save(folder / RESULT)
    if name is not None:
        (folder / RECORD).write_text(json.dumps({"image": name}))


def test_results_in_one_folder_belong_to_one_image_if_they_are_of_different_kinds(tmp_path):
    make_attribution().save(tmp_path / "digit-4" / "attribution.safetensors")
    make_counterfactual().save(tmp_path / "digit-4" / "counterfactual.safetensors")
    make_attributed(tmp_path / "deep" / "a", "deep/a.png")
    make_attribution(baseline=torch.zeros(1, 4, 6)).save(tmp_path / "deep" / "a" / CONTRIBUTION)
    make_attribution().save(tmp_path / "one.safetensors")
    make_attribution().save(tmp_path / "two.safetensors")
    save_file({"weight": torch.zeros(2)}, tmp_path / "digit-4" / "weights.safetensors")
    found = [(source.name, source.read()) for source in list_sources(tmp_path)]
    assert [(name, each.anchor) for name, each in found] == [
        ("one", "one"),
        ("two", "two"),
        ("deep/a.png", "deep-a"),
        ("digit-4", "digit-4"),
    ]
    assert found[3][1].attribution is not None
    assert found[3][1].counterfactual is not None
    assert found[2][1].contribution is not None


def test_results_of_several_jobs_are_told_apart_by_the_folder_of_each(tmp_path):
    for job in ("ours", "pixels"):
        make_attributed(tmp_path / job / "digit-0", "digit-0.png")
        make_attributed(tmp_path / job / "deep" / "a", "deep/a.png")
    names = [source.name for source in list_sources(tmp_path)]
    assert names == ["ours/deep/a.png", "ours/digit-0.png", "pixels/deep/a.png", "pixels/digit-0.png"]


def test_links_to_images_are_plain_and_not_taken_twice(tmp_path):
    for folder, name in (("a", "<b> c.png"), ("b", "b c.jpg"), ("c", "日本.png"), ("d", "x" * 300 + ".png")):
        make_attributed(tmp_path / folder, name)
    assert [source.read().anchor for source in list_sources(tmp_path)] == ["b-c", "b-c-2", "picture", "x" * 60]


def test_a_source_changes_its_stamp_with_its_files(tmp_path):
    make_attributed(tmp_path / "a")
    (before,) = list_sources(tmp_path)
    make_attribution(baseline=torch.zeros(1, 4, 6)).save(tmp_path / "a" / CONTRIBUTION)
    (after,) = list_sources(tmp_path)
    assert before.stamp != after.stamp


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(InvalidValue, match=f"^{tmp_path} holds no result; give one that demo"):
        write_page(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        write_page(tmp_path / "none")


def flip_last_byte(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:100])


def empty(path):
    path.write_bytes(b"")


def nest_the_record(path):
    cut(path)
    path.with_name(RECORD).write_text("[" * 100_000)


@pytest.mark.parametrize("damage", [flip_last_byte, cut, empty, nest_the_record])
def test_damaged_results_are_left_out_and_named(tmp_path, capsys, damage):
    for name in "ab":
        make_attributed(tmp_path / name, f"{name}.png")
    damage(tmp_path / "b" / RESULT)
    assert "a.png" in write_page(tmp_path).read_text()
    name = "b" if damage is nest_the_record else "b.png"
    (said,) = [line for line in capsys.readouterr().err.splitlines() if "the page" in line]
    assert said.startswith(f"{name}: the page leaves it out ({tmp_path / 'b' / RESULT} ")
    (tmp_path / "a" / RESULT).unlink()
    assert main(["report", str(tmp_path)]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"freemcg: no result in {tmp_path} can be drawn, as said above; start the command that made them again, which "
        "makes damaged ones anew"
    )


def test_a_damaged_result_does_not_hide_the_other_of_its_image(tmp_path, capsys):
    make_attribution().save(tmp_path / "attribution.safetensors")
    make_counterfactual().save(tmp_path / "counterfactual.safetensors")
    cut(tmp_path / "attribution.safetensors")
    page = write_page(tmp_path).read_text()
    assert "counterfactual" in page
    assert "attribution: the page leaves it out" in capsys.readouterr().err


def test_a_page_that_cannot_be_written_does_not_end_a_job(tmp_path, capsys, monkeypatch):
    make_attributed(tmp_path / "a")

    def full(*_):
        raise InvalidValue("no room")

    monkeypatch.setattr(page, "write_gallery", full)
    try_to_write_page(tmp_path)
    told = capsys.readouterr()
    assert told.err == (
        f"the page could not be written (no room); the results are kept, and freemcg report {tmp_path} tries again\n"
    )
    assert told.out == ""


def test_the_verb_writes_the_page_again(tmp_path, capsys):
    make_attributed(tmp_path / "a")
    assert main(["report", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"the page for a browser is {tmp_path / 'report.html'}\n"
    assert main(["report", str(tmp_path / "none")]) == 2
