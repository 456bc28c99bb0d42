"""The report of a comparison: rows of a CSV, a table with intervals, the maps side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from freemcg.blackbox import BlackBox
from freemcg.comparison.cells import SHOWN_IMAGES, Cell
from freemcg.comparison.measure import ALIGNMENT, ALWAYS, Column
from freemcg.comparison.recipe import Entry
from freemcg.comparison.tangents import Tangents
from freemcg.comparison.verdict import figure
from freemcg.evaluation.intervals import mean_interval
from freemcg.messages.terminal import say
from freemcg.show.figures import plot_comparison, write_figure
from freemcg.show.tables import print_table
from manifolds import random_alignment


def csv_row(cell: Cell, columns: Sequence[Column], black_box: BlackBox) -> dict[str, Any]:
    """A cell as a row of `comparison.csv`, with the figures of `columns`."""
    return {
        "method": cell.method,
        "image": cell.image,
        "target": _class_name(cell.target, black_box),
        **{column.name: _rounded(figure(cell, column)) for column in columns},
        "cost": cell.cost,
        "unit": cell.unit,
        "seconds": round(cell.seconds, 3),
        "blank": "yes" if cell.blank else "",
        "error": cell.error or "",
    }


def _class_name(index: int, black_box: BlackBox) -> str:
    return str(index) if black_box.class_names is None else black_box.class_names[index]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)


def print_report(
    cells: list[Cell], columns: Sequence[Column], entries: Sequence[Entry], tangents: Tangents, grid: Path, table: Path
) -> None:
    """Print one row per method, best first, and what the columns mean."""
    ordered, names = [], [entry.name for entry in entries]
    for name in names:
        own = [cell for cell in cells if cell.method == name]
        done = [cell for cell in own if cell.error is None]
        drawn = [cell.insertion or 0 for cell in done if not cell.blank]
        insertion = sum(drawn) / len(drawn) if drawn else -1.0
        ordered.append(
            (
                -insertion,
                {
                    "method": name,
                    "images": len(drawn),
                    **{
                        f"alignment ({tangents.name})" if column == ALIGNMENT else column.name: mean_of(
                            [figure(cell, column) for cell in done]
                        )
                        for column in ALWAYS
                    },
                    "cost": sum(cell.cost for cell in done) / len(done) if done else None,
                    "unit": own[0].unit,
                    "seconds": sum(cell.seconds for cell in done) / len(done) if done else None,
                },
            )
        )
    print_table([row for _, row in sorted(ordered, key=lambda each: each[0])])
    further = [_across(cells, column, names) for column in columns if column not in ALWAYS]
    if further:
        say("")
        print_table(further)
    ranks = [cell.rank for cell in cells if cell.rank is not None]
    sizes = [cell.values.numel() for cell in cells if cell.values is not None]
    random = ""
    if ranks:
        random = f"; a random map has {random_alignment(round(sum(ranks) / len(ranks)), sizes[0]):.3f}"
    say(
        "best first by insertion (higher is better; deletion: lower); means with 95 % intervals over images",
        f"alignment: with the {tangents.description}{random}",
        f"maps side by side in {grid}, every figure in {table}",
        *(entry.remark for entry in entries if entry.remark),
    )


def say_failures(cells: Sequence[Cell], names: Sequence[str]) -> None:
    """Say on the error stream which methods failed, on how many images, and why on the first."""
    for name in names:
        own = [cell for cell in cells if cell.method == name]
        failed = [cell.error for cell in own if cell.error is not None]
        if failed:
            say(f"failed: {name} on {len(failed)} of {len(own)} images: {failed[0]}", err=True)


def _across(cells: Sequence[Cell], column: Column, names: Sequence[str]) -> dict[str, Any]:
    """One further measure as a row, with a column for each method."""
    means = {name: mean_of([figure(cell, column) for cell in cells if cell.method == name]) for name in names}
    return {"measure": column.name, "better": "higher" if column.higher else "lower", **means}


def mean_of(values: Sequence[float | None]) -> str | None:
    """The mean of the figures that are known, with its interval if there are several; `None` without one."""
    known = [value for value in values if value is not None]
    return f"{mean_interval(torch.tensor(known, dtype=torch.double)):.3f}" if known else None


def write_grid(
    images: Mapping[str, Tensor],
    names: Sequence[str],
    cells: dict[tuple[str, str], Cell],
    black_box: BlackBox,
    path: Path,
) -> None:
    """Draw the first images with their maps, and write the figure to `path`."""
    rows = []
    for image in list(images)[:SHOWN_IMAGES]:
        own = [cells[image, name] for name in names]
        rows.append((f"{image}: {_class_name(own[0].target, black_box)}", images[image], [cell.values for cell in own]))
    write_figure(plot_comparison(rows, names), path)
