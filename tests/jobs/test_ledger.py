"""Random histories of a job. Whatever broke off or was damaged, a last start ends with the results of an unbroken run.

Payments are counted image by image. An image is asked about again only if its answer was under way at a kill, or was
damaged. `FREEMCG_HISTORIES=20000 pytest tests/jobs/test_ledger.py` tries more histories than the 500 of a usual run.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import tempfile
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest
import torch
from faults import OF_FILES, OF_FOLDERS, Faults, Killed, answers_in, damage
from folders import run_job
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from PIL import Image
from quick import BATCH, COST, NAMES, Asking, Model, draw_picture

from freemcg import Attribution, BlackBox, Counterfactual, QueryBudgetExceeded
from freemcg.blackbox import QueryCache, Receipt
from freemcg.jobs.items import RECEIPT, RECORD, RESULT
from freemcg.messages.errors import REFUSED, InvalidValue, sentence_of, status_of
from freemcg.results import load_result

MORE = os.environ.get("FREEMCG_HISTORIES")
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
SEED = st.binary(min_size=8, max_size=8)
POINTS = 90  # more than a start with two pictures has
IMAGE = SimpleNamespace(savefig=lambda path, **_: Image.new("L", (2, 2)).save(path, format="PNG"))


@pytest.fixture(autouse=True, scope="module")
def _figures_are_drawn_at_once():
    with pytest.MonkeyPatch.context() as patched:
        for kind in (Attribution, Counterfactual):
            patched.setattr(kind, "plot", lambda result: IMAGE)
        yield


@dataclass
class Start:
    """The outcome of one start."""

    rows: list[dict] | None
    error: BaseException | None
    batches: list[list[bytes]]
    lost: list[bytes]
    said: str


def start(root: Path, task: str, model: str, kept: Path | None, faults: Faults, budget: int | None = None) -> Start:
    asked, said = Model(model, faults), io.StringIO()
    explainer, rows, failed = None, None, None
    with pytest.MonkeyPatch.context() as patched, faults.around(patched), redirect_stdout(said), redirect_stderr(said):
        answers = None
        try:
            answers = None if kept is None else QueryCache(kept)
            explainer = Asking(BlackBox(asked, batch_size=BATCH, budget=budget, cache=answers))
            rows = run_job(explainer, root / "pics", root / "out", task=task)
        except (Killed, Exception) as error:
            failed = error
    if answers is not None:
        answers.close()
    faults.restore()
    assert explainer is None or explainer.black_box.queries == sum(map(len, asked.batches))
    return Start(rows, failed, asked.batches, [] if explainer is None else explainer.lost, said.getvalue())


@cache
def unbroken(task: str, model: str, name: str, version: int) -> tuple[dict, Attribution | Counterfactual, set[bytes]]:
    """The row and the result of a picture in a fresh folder, and the images that the run asks about."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        draw_picture(Path(folder) / "pics" / name, version)
        found = start(Path(folder), task, model, None, Faults(Path(folder)))
        assert found.error is None
        result = load_result(Path(folder, "out", name).with_suffix("") / "result.safetensors")
        return found.rows[0], result, {key for batch in found.batches for key in batch}


class Histories(RuleBasedStateMachine):
    """A user's folder, with the images that were paid for and those that may be paid for again."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(dir=MEMORY))
        self.out = self.root / "out"
        self.versions: dict[str, int] = {}
        self.damaged: set[str] = set()
        self.paid, self.excused = Counter[bytes](), Counter[bytes]()
        self.starts, self.settled, self.begun_by = 0, False, None

    @initialize(
        task=st.sampled_from(["attribution", "counterfactual"]),
        pictures=st.integers(1, 2),
        kept=st.sampled_from(["out/answers.sqlite", "mine.sqlite", None]),
        seed=SEED,
    )
    def begin(self, task, pictures, kept, seed):
        self.task, self.model, self.seed = task, "one", seed
        self.kept = None if kept is None else self.root / kept
        for name in NAMES[-pictures:]:
            self._draw(name, 0)
        self._start_somehow(Random(seed))

    def _draw(self, name, version):
        self.settled, self.versions[name] = False, version
        draw_picture(self.root / "pics" / name, version)

    def _keys(self, name):
        """The images that an unbroken run asks about, for the present version of a picture."""
        return unbroken(self.task, self.model, name, self.versions[name])[2]

    def _excuse(self, keys):
        self.excused.update(keys)

    def _start(self, faults, budget=None):
        found = start(self.root, self.task, self.model, self.kept, faults, budget)
        self.starts += 1
        assert not (self.settled and found.batches)
        self.paid.update(key for batch in found.batches for key in batch)
        if self.kept is None:
            self._excuse(found.lost)
        if found.error is None or found.batches:
            self.begun_by = self.model
        if found.error is not None and found.batches:
            self._excuse(found.batches[-1] if self.kept is not None else self._asked_last(found.batches))
        return found

    def _asked_last(self, batches):
        return next(keys for name in self.versions if batches[-1][0] in (keys := self._keys(name)))

    def _obeyed(self, found):
        """Whether a start was refused because of the user or of damage. If so, do what the refusal says."""
        if not isinstance(found.error, InvalidValue) or found.batches:
            return False
        said, settings_file = str(found.error), self.out / "settings.json"
        if "give another --out, or delete" in said and "made with" in said:
            assert self.model != self.begun_by
            before = self._answers()
            shutil.rmtree(self.out)
            self._excuse(self.paid if self.kept is None else before - self._answers())
        elif said == f"{settings_file} is not what a job writes; give another --out, or delete it":
            assert "settings.json" in self.damaged
            settings_file.unlink()
        elif "move this one away" in said or "is a folder; a cache is a file" in said:
            assert "mine.sqlite" in self.damaged
            self._excuse(self._answers())
            damage(self.kept, "renamed")
        else:
            return False
        return True

    @rule(seed=SEED)
    def go_on(self, seed):
        """Change some things, and start. They are drawn evenly, which hypothesis would not do."""
        chance = Random(self.seed + seed + bytes([self.starts]))
        for _ in range(chance.randint(0, 2)):
            if self.out.is_dir() and chance.random() < 0.75:
                self._damage(chance)
            elif chance.random() < 0.5:
                self._edit(chance.choice(sorted(self.versions)))
            else:
                self._change_the_model()
        self._start_somehow(chance)

    def _start_somehow(self, chance):
        kind, point = chance.choice(["kill", "kill", "full", "budget", "none"]), int(POINTS ** chance.random() ** 0.5)
        note(f"start: {kind}, {point}")
        if kind in ("kill", "full"):
            self._start_that_fails(Faults(self.root, kind, point))
        elif kind == "budget":
            self._start_with(chance.randint(0, 2 * COST))
        else:
            self._start_whole()

    def _start_that_fails(self, faults):
        found = self._start(faults)
        if found.error is None or isinstance(found.error, Killed) or self._obeyed(found):
            return
        assert faults.kind == "full"
        assert status_of(found.error) == REFUSED
        assert str(self.root) in sentence_of(found.error)
        assert "free space on its disk" in sentence_of(found.error)

    def _start_with(self, budget):
        found = self._start(Faults(self.root), budget)
        assert found.error is None or isinstance(found.error, QueryBudgetExceeded) or self._obeyed(found)
        assert sum(map(len, found.batches)) <= budget

    def _start_whole(self):
        while self._obeyed(found := self._start(Faults(self.root))):
            pass
        assert found.error is None
        self._check(found.rows)
        self.settled = True

    def _edit(self, name):
        note(f"edit {name}")
        self._draw(name, 1 - self.versions[name])
        if self.kept is None:
            self._excuse(self._keys(name))

    def _change_the_model(self):
        note("change the model")
        self.settled, self.model = False, "two" if self.model == "one" else "one"

    def _damage(self, chance):
        paths = sorted(path for path in self.root.rglob("*") if path.relative_to(self.root).parts[0] != "pics")
        files = [path for path in paths if path.is_file()]
        path = chance.choice(files if files and chance.random() < 0.9 else paths)
        kinds = OF_FILES if path.is_file() else OF_FOLDERS[path == self.out :]  # a file instead of `out` is refused
        kind, where, mask = chance.choice(kinds), chance.random(), 1 << chance.randrange(8)
        note(f"damage {path}: {kind}, {where}, {mask}")
        self.settled, before = False, self._answers()
        damage(path, kind, where, mask)
        self.damaged.add(path.name)
        self._excuse(before - self._answers())
        for name in self.versions if self.kept is None else ():
            folder = (self.out / name).with_suffix("")
            if path in (folder, *folder.parents, *(folder / each for each in (RESULT, RECEIPT, RECORD))):
                self._excuse(self._keys(name))

    def _answers(self):
        if self.kept is None:
            return set()
        renewed = self.kept.with_name(self.kept.name + ".renewed")  # takes the place of the other at the next start
        return answers_in(renewed if renewed.is_file() else self.kept, MEMORY)

    def _check(self, rows):
        """Check that all results are those of an unbroken run, and that no image was paid for without need."""
        shown = list(csv.DictReader(io.StringIO((self.out / "summary.csv").read_text(), newline="")))
        for name, row, line in zip(sorted(self.versions), rows, shown, strict=True):
            folder = (self.out / name).with_suffix("")
            expected, result, _ = unbroken(self.task, self.model, name, self.versions[name])
            assert row == expected
            assert line == {key: str(value) for key, value in expected.items() if key != "unfinished"}
            assert row.items() <= json.loads((folder / "record.json").read_text()).items()
            stored = load_result(folder / "result.safetensors")
            for key, value in vars(result).items():
                same = torch.equal(vars(stored)[key], value) if torch.is_tensor(value) else vars(stored)[key] == value
                assert same, key
            assert Receipt.load(folder / "receipt.safetensors").questions
            for picture in ("figure.png", "counterfactual.png")[: 1 + (self.task == "counterfactual")]:
                Image.open(folder / picture).load()
        for key, times in self.paid.items():
            assert times <= 1 + self.excused[key]

    def teardown(self):
        try:
            if self.versions:
                self._start_whole()
        finally:
            shutil.rmtree(self.root, ignore_errors=True)


def test_whatever_happened_a_last_start_ends_with_what_an_unbroken_run_finds():
    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=int(MORE or 500),
            stateful_step_count=3,
            deadline=None,
            database=None,
            derandomize=MORE is None,
            phases=[Phase.generate, Phase.shrink],
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
