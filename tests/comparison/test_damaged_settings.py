"""Damaged settings of a comparison are written anew, if its cells say that they were made with the same."""

from __future__ import annotations

import json

import pytest
import tiny

from freemcg.commands.app import main


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tiny.make_place(tmp_path, ("a.png",))


@pytest.mark.parametrize("left", [0, 30])
def test_damaged_settings_are_written_anew_or_refused_by_the_cells(place, pipeline, capsys, left):
    (place / "mine.py").write_text((place / "mine.py").read_text() + "brighter_right.identity = 'mine'\n")
    words = ["compare", "pics", "--model", "mine.py:brighter_right", "--denoiser", str(pipeline), "--out", "out"]
    words += ["--config", "tiny.yaml", "--methods", "rise", "--queries", "9"]
    assert main([*words, "--steps", "4"]) == 0
    settings, before = place / "out" / "settings.json", tiny.asked(place)
    whole = settings.read_bytes()
    settings.write_bytes(whole[:left])
    assert main([*words, "--steps", "4"]) == 0
    assert "out/settings.json was damaged, and is written anew" in capsys.readouterr().err
    assert tiny.asked(place) == before
    assert json.loads(settings.read_bytes()) == json.loads(whole)
    settings.write_bytes(whole[:left])
    assert main([*words, "--steps", "5"]) == 2
    cell = "out/cells/a.png/rise.safetensors"
    assert f"freemcg: {cell} holds a result made with other settings" in capsys.readouterr().err
    assert tiny.asked(place) == before
