"""One image on several processes: they share the denoising, and the main one does all else."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import team
import tiny
from launched import SUPPORT, launched
from tolerance import assert_same_map

from freemcg import Attribution, Counterfactual
from freemcg.__main__ import main
from freemcg.messages.errors import LostProcess

KILLS_THE_LAST = """
import signal

COUNTER.with_name(f"process-{os.environ.get('RANK')}.txt").write_text(str(os.getpid()))


def kills_the_last(images):
    answers = brighter_right(images)
    last = COUNTER.with_name("process-2.txt")
    if last.exists() and int(COUNTER.read_text()) > 9:  # the second picture has begun
        os.kill(int(last.read_text()), signal.SIGKILL)
        last.unlink()
    return answers
"""


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process finds, in as many threads as these tests run in."""
    out = tmp_path_factory.mktemp("alone")
    team.main(out)
    return out


def counts(out: Path) -> list[list[int]]:
    """The images that each process denoised, those that it asked about, and its threads. The main one comes first."""
    rows = [[int(each) for each in line.split()] for line in (out / "counts.txt").read_text().splitlines()]
    return sorted(rows, key=lambda row: -row[1])


@pytest.mark.parametrize(("processes", "threads"), [(1, 2), (2, 1), (2, 2), (3, 1), (3, 2)])
def test_any_number_of_processes_and_threads_finds_what_one_finds(alone, tmp_path, processes, threads):
    statuses, said = launched(processes, [str(SUPPORT / "team.py"), str(tmp_path)], tmp_path, threads=threads)
    assert statuses == [0] * processes, said
    one, many = (Attribution.load(out / "map.safetensors") for out in (alone, tmp_path))
    for tensor in ("values", "standard_error", "projected_gradient", "projected_error"):
        assert_same_map(getattr(one, tensor), getattr(many, tensor))
    before, after = (Counterfactual.load(out / "changed.safetensors") for out in (alone, tmp_path))
    assert (before.image - after.image).abs().max() <= 1.001 / 255
    assert before.status == after.status == "complete"
    assert (one.queries, before.queries) == (many.queries, after.queries)

    ((denoised, asked, _),) = counts(alone)
    found = counts(tmp_path)
    assert [row[1] for row in found] == [asked] + [0] * (processes - 1)
    assert sum(row[0] for row in found) == denoised
    assert {row[2] for row in found} == {threads}
    for each, *_ in found:  # single images stay with the main process
        assert 0.8 <= each * processes / denoised <= 1.2


def test_the_main_process_says_why_the_denoiser_failed_in_another(tmp_path):
    statuses, said = launched(2, [str(SUPPORT / "team.py"), str(tmp_path), "1"], tmp_path)
    assert statuses == [1, 0]
    assert (
        said[0].splitlines()[-1].startswith("[rank0]: freemcg.messages.errors.InvalidValue: the denoiser answered NaN")
    )
    assert "Traceback" not in said[1]


def test_a_process_that_dies_ends_all_with_one_sentence_and_the_next_start_goes_on(pipeline, tmp_path, monkeypatch):
    place = tiny.make_place(tmp_path, ("a.png", "b.png"))
    (place / "mine.py").write_text(tiny.MODEL + KILLS_THE_LAST)
    options = ["--model", "mine.py:kills_the_last", "--denoiser", str(pipeline), "--config", "tiny.yaml"]
    words = ["-m", "freemcg", "attribute", "pics", "--out", "out", "--device", "cpu", *options]
    statuses, said = launched(3, words, place)
    assert statuses == [1, 1, -signal.SIGKILL]
    assert said[0].splitlines()[-1] == f"freemcg: {LostProcess()}"
    assert "finished results are kept, and the next start goes on from there" in said[0].splitlines()[-2]
    assert "Traceback" not in said[0] + said[1]
    assert "freemcg: " not in said[1]
    assert [path.parent.name for path in (place / "out").rglob("result.safetensors")] == ["a"]

    monkeypatch.chdir(place)
    assert main(words[2:]) == 0
    assert len(list((place / "out").rglob("result.safetensors"))) == 2


@pytest.mark.parametrize(("budget", "status", "said"), [(20, 1, "2 of 3 images are explained"), (0, 2, "0 are left")])
def test_with_a_budget_the_main_process_alone_asks_and_the_others_denoise(pipeline, tmp_path, budget, status, said):
    place = tiny.make_place(tmp_path)
    words = ["-m", "freemcg", "attribute", "pics", "--out", "out", "--device", "cpu", "--budget", str(budget)]
    options = ["--model", "mine.py:brighter_right", "--denoiser", str(pipeline), "--config", "tiny.yaml"]
    statuses, told = launched(2, [*words, *options], place)
    assert statuses == [status, status]
    assert tiny.asked(place) == [budget] * (budget > 0)
    assert said in told[0]
    assert "freemcg: " not in told[1]
