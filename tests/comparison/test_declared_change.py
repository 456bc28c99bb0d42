"""A model that was said to change is asked again in a comparison too; one behind an address is not by default."""

from __future__ import annotations

import json

import pytest
import tiny

from freemcg.commands.app import main


@pytest.mark.parametrize("said", [True, False, None])
def test_a_comparison_keeps_what_was_said_of_change(tmp_path, monkeypatch, pipeline, said):
    monkeypatch.chdir(tiny.make_place(tmp_path, ("a.png",)))
    (tmp_path / "mine.py").write_text(tiny.MODEL + f"changing = BlackBox(brighter_right, may_change={said})\n")
    words = ["--config", "tiny.yaml", "--methods", "freemcg", "--queries", "9", "--steps", "4", "--out", "out"]
    assert main(["compare", "pics", "--model", "mine.py:changing", "--denoiser", str(pipeline), *words]) == 0
    assert json.loads((tmp_path / "out" / "settings.json").read_text())["may_change"] is bool(said)
    assert tiny.asked(tmp_path) == [1 + 9 + (2 * 4 + 1) + bool(said)]
