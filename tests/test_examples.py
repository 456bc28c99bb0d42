"""The files of `examples/`, run as a user runs them."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from ports import free_port

from freemcg import Attribution, Counterfactual
from freemcg.results import Status

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run an example in an empty folder, and return the lines that it printed."""

    def run(name, *arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out.splitlines()

    return run


def test_a_model_of_ones_own(run, tmp_path):
    lines = run("own_model", "--out", "own")
    attribution = Attribution.load(tmp_path / "own" / "attribution.safetensors")
    changed = Counterfactual.load(tmp_path / "own" / "counterfactual.safetensors")
    assert attribution.reliability > 0.5
    assert changed.flipped
    assert lines[-1].startswith(f"{attribution.queries + changed.queries} of 200 queries")
    assert (tmp_path / "own" / "counterfactual.png").stat().st_size > 5000


def test_a_model_behind_an_address_is_asked_within_its_budget_and_never_twice(tmp_path, capsys):
    example = runpy.run_path(str(EXAMPLES / "endpoint.py"), run_name="example")
    with example["small_server"]() as url:
        example["explain"](url, tmp_path, 40)
        example["explain"](url, tmp_path, 120)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "attribution: budget_exhausted for 40 queries"
    assert lines[1].startswith("counterfactual: budget_exhausted for 1 queries")
    assert lines[2].startswith("sent 40 of 40, sent again 0, from the cache 1;")
    assert lines[3].startswith("attribution: complete for ")
    sent, known = (int(each) for each in re.match(r"sent (\d+) of 120, .* from the cache (\d+);", lines[5]).groups())
    assert sent < 80
    assert known >= 40
    assert Counterfactual.load(tmp_path / "counterfactual.safetensors").status == Status.COMPLETE


def test_a_folder_on_two_processes_is_explained_once_and_finished_where_it_was_left(run, tmp_path):
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launcher += ["--main_process_port", free_port(), str(EXAMPLES / "folder.py"), "--count", "2", "--out", "out"]
    done = subprocess.run(
        launcher, cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    *explained, last = done.stdout.splitlines()
    assert sorted(line.split(" is ")[0] for line in explained) == ["process 0: 000.png", "process 1: 001.png"]
    assert last == "2 results in out/results"
    (tmp_path / "out" / "results" / "001.safetensors").unlink()
    first, second = run("folder", "--count", "2", "--out", "out")
    assert first.startswith("process 0: 001.png is decided")
    assert second == last


def test_a_comparison(run):
    header, *rows = run("comparison", "--images", "2")
    assert header.split() == ["method", "queries", "an", "image", "insertion", "deletion"]
    assert [row.split()[0] for row in rows] == ["freemcg", "rise", "zeroth_order", "integrated_gradients"]
    assert [row.split()[1] for row in rows] == ["65", "64", "64", "reads"]
