"""The report of finished counterfactuals: a row for each folder, the paired tests, and the figures of every picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from freemcg.comparison.counterfactuals import Sides
from freemcg.comparison.report import mean_of
from freemcg.comparison.verdict import LEVEL, TESTS
from freemcg.evaluation.intervals import share_interval
from freemcg.messages.errors import InvalidValue
from freemcg.messages.terminal import say
from freemcg.show.tables import print_table, write_csv

TABLE, FOLDERS = "counterfactuals.csv", "folders.csv"
SEARCHED = "counterfactuals"
"""The folder of the searches of a recipe, below that of the comparison."""
WORDS = (
    "Means over the same pictures for all, with 95 % intervals. A star marks what differs from the first on the same "
    "pictures (p < 0.05 after Holm's correction)."
)
SHARES = ("flipped", "judged")


def print_sides(sides: Sides) -> None:
    """Print a row for each folder, and what differs from the first on the same pictures."""
    print_table(table_of(sides))
    rest = f"; left out: {sides.left_out}, which not all folders have" if sides.left_out else ""
    count = len(sides.images)
    say((f"means over {count} pictures, with 95 % intervals" if count > 1 else "one picture: no means") + rest)
    if sides.embedded is not None:
        own = ", ".join(f"{name} {value:.4g}" for name, value in sides.embedded.of_images.items())
        say(
            f"of the pictures themselves: {own}; biased upward alike, unless there are many more pictures than the "
            f"{sides.embedded.length} features"
        )
    if count := len(sides.tests):
        say(f"* differs from {sides.names[0]} on the same pictures (after Holm's correction for {count} tests)")
        say(f"diversity: the answers to one picture are {mean_of(sides.diversity.tolist())} apart (root mean square)")


def sides_of(rows: Sequence[Mapping[str, str]]) -> Sides:
    """The figures in the rows of the table that `write_sides` wrote, without diversity and distances in features.

    Raises:
        ValueError: rows are missing.
    """
    names, images = (list(dict.fromkeys(row[key] for row in rows)) for key in ("folder", "image"))
    if len(rows) != len(names) * len(images):
        raise InvalidValue(f"{TABLE} lacks rows; run the comparison again, which writes it anew")
    figures = {
        column: torch.tensor([float(row[column]) for row in rows], dtype=torch.double).reshape(len(names), len(images))
        for column in list(rows[0])[2:]
    }
    return Sides(names, images, 0, figures, torch.empty(0))


def write_sides(sides: Sides, out: Path) -> None:
    """Write the figures of every picture, of every folder, and the tests into the folder `out`, as CSV."""
    out.mkdir(parents=True, exist_ok=True)
    each = [
        {"folder": name, "image": image, **{c: v[i, j].item() for c, v in sides.figures.items()}}
        for i, name in enumerate(sides.names)
        for j, image in enumerate(sides.images)
    ]
    write_csv(each, out / TABLE)
    if sides.embedded is not None:
        rows = zip(sides.names, _distances(sides), strict=True)
        write_csv([{"folder": name, **row} for name, row in rows], out / FOLDERS)
    if sides.tests:
        write_csv(sides.tests, out / TESTS)


def table_of(sides: Sides) -> list[dict[str, Any]]:
    """A row for each folder, with means and 95 % intervals. A star marks what differs from the first folder."""
    marked = {(row["method"], row["measure"]) for row in sides.tests if row["p, corrected"] < LEVEL}
    rows = []
    for index, name in enumerate(sides.names):
        means = {column: _mean(column, values[index]) for column, values in sides.figures.items()}
        rows.append({"folder": name} | {c: f"{mean}{'*' * ((name, c) in marked)}" for c, mean in means.items()})
    return [row | distances for row, distances in zip(rows, _distances(sides), strict=True)]


def _distances(sides: Sides) -> list[dict[str, float]]:
    """The distances of each folder in features, by measure; none without features."""
    measured = {} if sides.embedded is None else sides.embedded.distances
    return [{name: values[index].item() for name, values in measured.items()} for index in range(len(sides.names))]


def _mean(column: str, values: Tensor) -> str:
    if column in SHARES:
        return f"{share_interval(values.bool()):.3f}"
    if column == "queries":
        return f"{values.mean().item():.0f}"
    return mean_of(values[values.isfinite()].tolist()) or "-"
