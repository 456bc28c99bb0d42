"""What a job says at its end: the table, what to change, what is left."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from freemcg.blackbox.scores import VALUE
from freemcg.jobs.items import RECORD, Item
from freemcg.jobs.plan import Task
from freemcg.jobs.spending import Spending
from freemcg.messages.terminal import say
from freemcg.results import MODEL_CHANGED, NO_SIGNAL
from freemcg.show.tables import print_table, write_csv

SUMMARY = "summary.csv"
SHOWN_ROWS = 20
UNSHOWN = ("record", "spent", "picture", "made with")


def rows_of(items: Sequence[Item]) -> list[dict[str, Any]]:
    """What was noted of each image: the row of the table, and whether its explanation is `unfinished`."""
    rows = [json.loads((item.folder / RECORD).read_text()) for item in items]
    return [{key: value for key, value in row.items() if key not in UNSHOWN} for row in rows]


def report(rows: list[dict[str, Any]], out: Path, task: Task, spending: Spending, spent: dict[str, int]) -> None:
    """Write the table of all results; print the beginning of it, what it says to change, and what was spent."""
    shown = [{key: value for key, value in row.items() if key != "unfinished"} for row in rows]
    write_csv(shown, out / SUMMARY)
    print_table(shown[:SHOWN_ROWS])
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


def say_disagreement(items: Sequence[Item]) -> None:
    """Say how far answers to one image differed, where a model that is taken for the same did not repeat itself."""
    noted = [json.loads((item.folder / RECORD).read_text()) for item in items]
    found = [each["record"] for each in noted if each["status"] != MODEL_CHANGED and "disagreement" in each["record"]]
    if found:
        most = max(each["disagreement"] for each in found)
        unit = "of the value" if found[0]["scores"] == VALUE else "in a probability"
        say(
            f"disagreement: {len(found)} of {len(noted)}; asked about the same image again, the model answered "
            f"otherwise, by up to {most:.2g} {unit}. Noise is in the error bars; if its classes come in another order "
            "each time, let it name them (means: labels)",
            err=True,
        )


def say_what_is_left(items: Sequence[Item], explained: int, unreadable: int) -> None:
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
