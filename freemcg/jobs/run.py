"""A folder of images explained one after another, over the processes that Accelerate started.

Every finished image has a folder of its own, written whole: pictures, `receipt.safetensors` (what was asked and
answered), `record.json`, and last `result.safetensors`. So a job that was stopped goes on where it was, and a result
does not depend on the number of processes. A picture that is no longer what was explained is explained anew, and so is
one for which the budget of an earlier start did not reach.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from tqdm import tqdm

from freemcg.blackbox import BlackBox, QueryBudgetExceeded
from freemcg.blackbox.scores import VALUE
from freemcg.explainer import FreeMCG
from freemcg.files.images import decode, is_whole, read_for, write_image
from freemcg.files.whole import naming, write_text
from freemcg.jobs.items import CHANGED, FIGURE, RECEIPT, RECORD, RESULT, Item, digest_of, list_items
from freemcg.jobs.made_with import check_made_with, digest_of_settings, job_settings, write_made_with
from freemcg.jobs.plan import Task, most_queries
from freemcg.jobs.spending import Spending, price_text
from freemcg.jobs.unchanged import check_unchanged, oldest_answer
from freemcg.messages.errors import (
    REFUSED,
    SLIP,
    FailedElsewhere,
    InvalidValue,
    Refusal,
    sentence_of,
    show_traceback,
    status_of,
)
from freemcg.messages.terminal import say
from freemcg.results import BUDGET_EXHAUSTED, MODEL_CHANGED, NO_SIGNAL, Attribution, Counterfactual, load_result
from freemcg.show.figures import class_name, write_figure
from freemcg.show.tables import print_table, write_csv

SUMMARY = "summary.csv"
PICTURES: dict[Task, tuple[str, ...]] = {"attribution": (FIGURE,), "counterfactual": (FIGURE, CHANGED)}
SHOWN_ROWS = 20
UNSHOWN = ("record", "spent", "picture", "made with", "unfinished")
LONGEST_WAIT = timedelta(days=30)


@dataclass(frozen=True)
class Look:
    """What was found of pictures before the first query: how many there are of each kind, and the unreadable ones."""

    resized: int = 0
    cleared: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)


def start_processes(device: str | None = None) -> tuple[PartialState, torch.device]:
    """Join the processes that the launcher started, if any, and choose this one's device.

    Args:
        device: as `torch.device` takes it; `None` is a CUDA device where there is one, else the CPU.

    Raises:
        ValueError: there is no such device.
    """
    if device is not None:
        try:
            wanted = torch.device(device)
        except RuntimeError:
            raise InvalidValue(f"there is no device {device!r}; name cpu, cuda or cuda:N") from None
        if wanted.type == "cuda" and (wanted.index or 0) >= torch.cuda.device_count():
            raise InvalidValue(f"there is no device {device}; {torch.cuda.device_count()} CUDA devices are visible")
        if wanted.type not in ("cpu", "cuda") and not _computes(wanted):
            raise InvalidValue(f"nothing can be computed on the device {device!r} here; name cpu, cuda or cuda:N")
    on_cpu = device == "cpu" or not torch.cuda.is_available()
    state = PartialState(cpu=on_cpu, timeout=LONGEST_WAIT)
    return state, state.device if device in (None, "cpu", "cuda") else torch.device(device)


def _computes(device: torch.device) -> bool:
    try:
        return torch.zeros(1, device=device).tolist() == [0]
    except Exception:  # each kind of device has its own
        return False


def check_one_counts(black_box: BlackBox, state: PartialState) -> None:
    """Refuse a budget that several processes would share.

    Raises:
        ValueError: there is one, and this is one of several processes.
    """
    if black_box.budget is not None and state.num_processes > 1:
        raise InvalidValue("a budget is counted in one process; start one process, or give the black box no budget")


def run_job(
    explainer: FreeMCG,
    images: Path,
    out: Path,
    *,
    task: Task,
    target: float | str | None = None,
    price_per_1000: float | None = None,
) -> list[dict[str, Any]]:
    """Explain every image, or what is missing of them; print a table and write `summary.csv` on the main process.

    Args:
        images: a picture, or a folder that is searched for pictures with its subfolders.
        out: image `a/b.png` goes to the folder `out/a/b`.
        target: class index or name; `None` explains each decision, or seeks the runner-up. Of values, what
            `FreeMCG.counterfactual` takes.
        price_per_1000: price of a thousand queries, in any currency; shown beside the queries.

    Returns:
        The rows of the table, of all images, on every process; fewer where the budget ended before. `list_items` tells
        which are done.

    Raises:
        FileNotFoundError: there is no image.
        QueryBudgetExceeded: the budget did not reach for one image, and none was done before.
        ValueError: before the first query: no picture can be read, the class does not exist, or `out` holds results
            made with other settings. After it: the model answers otherwise than when they were made, or not as
            declared; finished images are kept.

    Pictures of a folder that cannot be read are named on the error stream and left out.

    Costs at most `most_queries` queries an image, and what `check_unchanged` does where some are done before.
    """
    state, spending = PartialState(), Spending(explainer.black_box, price_per_1000)
    check_one_counts(explainer.black_box, state)
    wanted = explainer.known_target(target, task)
    made_with = job_settings(explainer, task, wanted)
    items = list_items(images, out, digest_of_settings(made_with))
    pending = [item for item in items if not item.done]
    share = pending[state.process_index :: state.num_processes]
    looks = [Look()]

    def check() -> None:
        if state.is_main_process:
            check_made_with(out, made_with, [item.folder for item in items if item.of_others])
        looks[0] = _look_at(explainer, share, alone=images.is_file())

    together(state, check)
    looks = gather_object(looks)
    unreadable = {name: why for look in looks for name, why in look.unreadable.items()}
    pending, share = ([item for item in each if item.name not in unreadable] for each in (pending, share))

    def announce() -> None:
        if not state.is_main_process:
            return
        if len(unreadable) == len(items):
            raise InvalidValue(f"no picture of {images} can be read; the first: {min(unreadable.values())}")
        if (then := oldest_answer(items)) is not None:
            check_unchanged(explainer.black_box, replace(then, image=then.image.to(explainer.denoiser.device)), out)
        with naming(out):
            out.mkdir(parents=True, exist_ok=True)
        write_made_with(out, made_with)
        _announce(explainer, task, len(items), len(pending), looks, price_per_1000)
        if damaged := sum(item.damaged for item in pending):
            say(f"made again, since they are cut short or damaged: {damaged} of them", err=True)

    ended: QueryBudgetExceeded | None = None

    def work() -> None:
        nonlocal ended
        bar = tqdm(share, desc=f"{task}s", unit="image", disable=not state.is_main_process)
        with bar, spending.shown(bar):
            _draw_missing(items[state.process_index :: state.num_processes], task)
            try:
                for item in bar:
                    _explain(explainer, item, task, wanted)
            except QueryBudgetExceeded as error:
                ended = error

    with spending.said_if_broken_off(aloud=state.is_main_process):
        together(state, announce)
        together(state, work)
        explained = [item for item in items if item.explained]
        if ended is not None and not explained:
            raise ended
    spent, rows = spending.total(), _rows_of(explained)
    if state.is_main_process:
        _report(rows, out, task, spending, spent)
        _say_what_is_left(items, len(explained), len(unreadable))
    return rows


def _say_what_is_left(items: Sequence[Item], explained: int, unreadable: int) -> None:
    """Say how many pictures were left out, and how far a budget reached, where it ended before the last image."""
    if unreadable:
        say(
            f"left out: {unreadable} of {len(items)} images, which cannot be read, as said at the start; mend or "
            "remove them, and start again",
            err=True,
        )
    done = sum(item.done for item in items)
    if done < len(items) - unreadable:
        partly = f", {explained - done} in part" if explained > done else ""
        say(
            f"the budget ended: {done} of {len(items)} images are explained{partly}; a second start goes on from them",
            err=True,
        )


def _announce(
    explainer: FreeMCG, task: Task, images: int, pending: int, looks: Sequence[Look], price_per_1000: float | None
) -> None:
    """Say what there is to do, what it will cost at most, and what was done to the pictures or is left out."""
    unreadable = [why for look in looks for why in look.unreadable.values()]
    each = most_queries(explainer.settings, task, may_change=explainer.black_box.may_change)
    say(
        f"images: {images}; done before: {images - len(unreadable) - pending}; "
        f"to do: {pending}, at most {each} queries each" + price_text(pending * each, price_per_1000),
        err=True,
    )
    if unreadable:
        reasons = sorted(unreadable)
        rest = [f"and {len(reasons) - SHOWN_ROWS} more"] if len(reasons) > SHOWN_ROWS else []
        say(f"left out, cannot be read: {len(reasons)} of them", *reasons[:SHOWN_ROWS], *rest, err=True)
    if cleared := sum(look.cleared for look in looks):
        say(f"transparent in part, laid on white: {cleared} of them", err=True)
    if resized := sum(look.resized for look in looks):
        height, width = explainer.denoiser.image_size or (0, 0)
        say(f"resized to the denoiser's {height}x{width}: {resized} of them", err=True)


def _rows_of(items: Sequence[Item]) -> list[dict[str, Any]]:
    """What was noted of each image, as far as a table shows it."""
    rows = [json.loads((item.folder / RECORD).read_text()) for item in items]
    return [{key: value for key, value in row.items() if key not in UNSHOWN} for row in rows]


def _report(rows: list[dict[str, Any]], out: Path, task: Task, spending: Spending, spent: dict[str, int]) -> None:
    """Write the table of all results; print the beginning of it, what it says to change, and what was spent."""
    write_csv(rows, out / SUMMARY)
    print_table(rows[:SHOWN_ROWS])
    _advise(rows, task)
    spending.say(spent)
    rest = len(rows) - SHOWN_ROWS
    say(f"{f'{rest} more rows and ' if rest > 0 else ''}the results are in {out}, this table in {out / SUMMARY}")


def _advise(rows: list[dict[str, Any]], task: Task) -> None:
    """Say what to do where the answers never told the target from the rest, or where they are of two models."""
    silent = sum(row["status"] == NO_SIGNAL for row in rows)
    if silent:
        level = "noise" if task == "attribution" else "search.strength"
        say(
            f"no_signal: {silent} of {len(rows)}; no answer told the target from the rest. Raise {level} in --config, "
            "then --queries",
            err=True,
        )
    changed = sum(row["status"] == MODEL_CHANGED for row in rows)
    if changed:
        say(
            f"model_changed: {changed} of {len(rows)}; asked about the image once more, the model answered otherwise. "
            "Delete their folders and any cache, and start again",
            err=True,
        )


def _explain(explainer: FreeMCG, item: Item, task: Task, target: int | str | None) -> None:
    image = read_for(explainer.denoiser, item.image)
    item.make_folder()
    before, picture = explainer.black_box.spent, item.picture
    with explainer.black_box.recording() as receipt:
        result = (explainer.explain if task == "attribution" else explainer.counterfactual)(image, target)
    row = _attribution_row(result) if isinstance(result, Attribution) else _counterfactual_row(result)
    spent = {name: count - before[name] for name, count in explainer.black_box.spent.items()}
    row = {"image": item.name, **row, "record": result.record, "spent": spent}
    row |= {"picture": picture, "made with": item.made_with}
    row["unfinished"] = result.status == BUDGET_EXHAUSTED and _fell_short(explainer, task, result.queries)
    for path in (item.folder / RESULT, item.folder / FIGURE):
        if not path.is_dir():
            path.unlink(missing_ok=True)
    receipt.save(item.folder / RECEIPT)
    write_text(item.folder / RECORD, json.dumps(row, indent=2) + "\n")
    result.save(item.folder / RESULT, {name: digest_of(item.folder / name) for name in (RECEIPT, RECORD)})
    _draw(result, item)


def _draw(result: Attribution | Counterfactual, item: Item) -> None:
    """The pictures beside a result, which is saved before them: what was paid for does not hang on a figure.

    A picture that cannot be drawn is said in one line; the next start tries again.
    """
    try:
        if isinstance(result, Counterfactual):
            write_image(result.image, item.folder / CHANGED)
        write_figure(result.plot(), item.folder / FIGURE)
    except Exception as error:
        with tqdm.external_write_mode():
            say(f"{item.name}: the figure could not be drawn ({sentence_of(error)}); the result is saved", err=True)


def _draw_missing(items: Sequence[Item], task: Task) -> None:
    """Draw what is done and has no figure, since an earlier start broke off before it, or a damaged one."""
    for item in items:
        if item.done and not all(is_whole(item.folder / name) for name in PICTURES[task]):
            _draw(load_result(item.folder / RESULT), item)


def _fell_short(explainer: FreeMCG, task: Task, queries: int) -> bool:
    """Whether the black box's budget ended before an image could have cost the most that it may."""
    black_box = explainer.black_box
    most = most_queries(explainer.settings, task, may_change=black_box.may_change)
    return black_box.remaining is not None and black_box.remaining < most - queries


def _attribution_row(result: Attribution) -> dict[str, Any]:
    return {
        "decision": class_name(result.record, result.decision),
        **_answered(result),
        "target": class_name(result.record, result.target),
        "status": result.status,
        "signal to noise": _finite(result.signal_to_noise),
        "queries": result.queries,
        "seconds": round(result.seconds, 2),
    }


def _answered(result: Attribution) -> dict[str, float]:
    """What the black box answers for the image: a value as it is, else the probability of the decision."""
    answer = result.log_probabilities[result.decision]
    if result.record.get("scores") == VALUE:
        return {"value": float(f"{answer.item():.5g}")}
    return {"probability": round(answer.exp().item(), 4)}


def _reached(result: Counterfactual) -> dict[str, float]:
    if "value" in result.record:
        return {name: float(f"{result.record[name]:.5g}") for name in ("value before", "value")}
    return {"probability": round(result.target_probability, 4)}


def _counterfactual_row(result: Counterfactual) -> dict[str, Any]:
    return {
        "decision": class_name(result.record, result.original_decision),
        "target": class_name(result.record, result.target),
        "flipped": result.flipped,
        **_reached(result),
        "status": result.status,
        "l1": _finite(result.l1),
        "realism": _finite(result.realism),
        "queries": result.queries,
        "seconds": round(result.seconds, 2),
    }


def together(state: PartialState, act: Callable[[], None]) -> None:
    """Act on every process and wait for all; where one fails, none goes on, and the main process says why."""
    own: Exception | SystemExit | None = None
    try:
        act()
    except (Exception, SystemExit) as error:
        own = error
    failed = None if own is None else (status_of(own), sentence_of(own))
    failures = [each for each in gather_object([failed]) if each is not None]
    if failures and not state.is_main_process:
        if own is not None and status_of(own) == SLIP:
            show_traceback(own)
        raise SystemExit(failures[0][0])
    if own is not None:
        raise own
    if failures:
        status, sentence = failures[0]
        raise InvalidValue(sentence) if status == REFUSED else FailedElsewhere(status, sentence)


def _look_at(explainer: FreeMCG, items: Sequence[Item], *, alone: bool) -> Look:
    """Decode each picture whole, and count. One that cannot be read is noted, or refused where it is `alone`."""
    resized, cleared, unreadable = 0, 0, {}
    for item in items:
        try:
            picture, clear = decode(item.image)
        except (Refusal, OSError) as error:
            if alone:
                raise
            unreadable[item.name] = sentence_of(error)
            continue
        cleared += clear
        resized += explainer.denoiser.image_size not in (None, (picture.height, picture.width))
    return Look(resized, cleared, unreadable)


def _finite(value: float) -> float | None:
    """The value to 5 digits; JSON knows no infinity."""
    return float(f"{value:.5g}") if math.isfinite(value) else None
