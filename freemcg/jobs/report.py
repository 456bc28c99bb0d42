"""A job ends with the table of its results, advice, and a count of the pictures that are left."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from freemcg.blackbox.scores import VALUE
from freemcg.jobs.items import RECORD, Item
from freemcg.jobs.plan import Task
from freemcg.jobs.spending import Spending
from freemcg.jobs.unreadable import say_left_out
from freemcg.messages.terminal import say
from freemcg.results import Status
from freemcg.show.tables import print_table, write_csv

SUMMARY = "summary.csv"
SHOWN_ROWS = 20
UNSHOWN = ("record", "spent", "picture", "made with")


def rows_of(items: Sequence[Item]) -> list[dict[str, Any]]:
    """The row of the table for each image, which also says whether its explanation is `unfinished`."""
    rows = [json.loads((item.folder / RECORD).read_text()) for item in items]
    return [{key: value for key, value in row.items() if key not in UNSHOWN} for row in rows]


def report(rows: list[dict[str, Any]], out: Path, task: Task, spending: Spending, spent: dict[str, int]) -> None:
    """Write the table of all results. Print its beginning, advice, and what was spent."""
    shown = [{key: value for key, value in row.items() if key != "unfinished"} for row in rows]
    write_csv(shown, out / SUMMARY)
    print_table(shown[:SHOWN_ROWS])
    _advise(rows, task)
    spending.say(spent)
    rest = len(rows) - SHOWN_ROWS
    say(f"{f'{rest} more rows and ' if rest > 0 else ''}the results are in {out}, this table in {out / SUMMARY}")


def _advise(rows: list[dict[str, Any]], task: Task) -> None:
    """Say what to do if the answers never told the target from the rest, or if the model changed meanwhile."""
    silent = sum(row["status"] == Status.NO_SIGNAL for row in rows)
    if silent:
        level = "noise" if task == "attribution" else "search.strength"
        say(
            f"no_signal: {silent} of {len(rows)}; no answer told the target from the rest. Raise {level} in --config, "
            "then --queries",
            err=True,
        )
    changed = sum(row["status"] == Status.MODEL_CHANGED for row in rows)
    if changed:
        say(
            f"model_changed: {changed} of {len(rows)}; the model answered otherwise when it was asked the image again. "
            "Delete their folders and any cache, and start again",
            err=True,
        )


def say_disagreement(items: Sequence[Item]) -> None:
    """Say how far the answers to one image differed, if the model is the same but does not repeat itself."""
    noted = [json.loads((item.folder / RECORD).read_text()) for item in items]
    same = [each["record"] for each in noted if each["status"] != Status.MODEL_CHANGED]
    found = [record for record in same if "disagreement" in record]
    if found:
        most = max(each["disagreement"] for each in found)
        unit = "of the value" if found[0]["scores"] == VALUE else "in a probability"
        say(
            f"disagreement: {len(found)} of {len(noted)}; the model's answers to one image differ by up to {most:.2g} "
            f"{unit}. Error bars include such noise; if its classes come in another order each time, let it name them "
            "(means: labels)",
            err=True,
        )


def say_what_is_lost(items: Sequence[Item]) -> None:
    """Say for how many images the loss of a latent model's autoencoder alone changes the decision."""
    noted = [json.loads((item.folder / RECORD).read_text())["record"].get("autoencoder", {}) for item in items]
    lost = [each["l1"] for each in noted if each.get("changes_decision")]
    if lost:
        say(
            f"autoencoder: {len(lost)} of {len(noted)}; the decision changes as soon as the denoiser's autoencoder has "
            f"encoded and decoded the image (mean change of a pixel up to {max(lost):.2g}), so what is explained is "
            "another decision. Take a denoiser on pixels, or one with an autoencoder for such images",
            err=True,
        )


def say_what_is_left(items: Sequence[Item], explained: int, unreadable: int) -> None:
    """Say how many pictures were left out, and how far the budget reached if it ended before the last image."""
    say_left_out(unreadable, len(items))
    done = sum(item.done for item in items)
    if done < len(items) - unreadable:
        partly = f", {explained - done} in part" if explained > done else ""
        say(
            f"the budget ended: {done} of {len(items)} images are explained{partly}; a second start goes on from them",
            err=True,
        )
