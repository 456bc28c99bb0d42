"""The report of finished counterfactuals: a row for each folder, the paired tests, and the figures of every picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from freemcg.comparison.counterfactuals import Sides
from freemcg.comparison.report import mean_of
from freemcg.comparison.verdict import LEVEL, TESTS
from freemcg.evaluation.intervals import share_interval
from freemcg.messages.terminal import say
from freemcg.show.tables import print_table, write_csv

TABLE = "counterfactuals.csv"


def print_sides(sides: Sides) -> None:
    """Print a row for each folder, and what differs from the first on the same pictures."""
    print_table(_rows(sides))
    rest = f"; left out: {sides.left_out}, which not all folders have" if sides.left_out else ""
    say(f"means over {len(sides.images)} pictures, with 95 % intervals{rest}")
    if count := len(sides.tests):
        say(f"* differs from {sides.names[0]} on the same pictures (after Holm's correction for {count} tests)")
        say(f"diversity: the answers to one picture are {mean_of(sides.diversity.tolist())} apart (root mean square)")


def write_sides(sides: Sides, out: Path) -> None:
    """Write the figures of every picture and the tests into the folder `out`, as CSV."""
    out.mkdir(parents=True, exist_ok=True)
    each = [
        {"folder": name, "image": image, **{c: v[i, j].item() for c, v in sides.figures.items()}}
        for i, name in enumerate(sides.names)
        for j, image in enumerate(sides.images)
    ]
    write_csv(each, out / TABLE)
    if sides.tests:
        write_csv(sides.tests, out / TESTS)


def _rows(sides: Sides) -> list[dict[str, Any]]:
    """A row for each folder, with means and 95 % intervals. A star marks what differs from the first folder."""
    marked = {(row["method"], row["measure"]) for row in sides.tests if row["p, corrected"] < LEVEL}
    rows = []
    for index, name in enumerate(sides.names):
        means = {column: _mean(column, values[index]) for column, values in sides.figures.items()}
        rows.append({"folder": name} | {c: f"{mean}{'*' * ((name, c) in marked)}" for c, mean in means.items()})
    return rows


def _mean(column: str, values: Tensor) -> str:
    if column == "flipped":
        return f"{share_interval(values.bool()):.3f}"
    if column == "queries":
        return f"{values.mean().item():.0f}"
    return mean_of(values[values.isfinite()].tolist()) or "-"
