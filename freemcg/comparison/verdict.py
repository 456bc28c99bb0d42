"""Which method is better? Ranks under each measure, how far the measures agree, and paired tests against one method.

No single measure decides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from freemcg.comparison.cells import Cell
from freemcg.comparison.measure import ALWAYS, Column
from freemcg.comparison.measures import COLUMNS
from freemcg.evaluation.agreement import concordance, map_agreement, ranks
from freemcg.evaluation.intervals import mean_interval
from freemcg.evaluation.significance import holm, paired_p_value
from freemcg.messages.terminal import say
from freemcg.show.tables import print_table, write_csv

RANKS, TESTS, AGREEMENT = "ranks.csv", "significance.csv", "agreement.csv"
LEVEL = 0.05


def columns_of(cells: Sequence[Cell]) -> list[Column]:
    """The columns that the cells have figures for, in the order of `COLUMNS`."""
    found = {name for cell in cells for name in cell.figures}
    return [*ALWAYS, *(column for name, column in COLUMNS.items() if name in found)]


def figure(cell: Cell, column: Column) -> float | None:
    """A figure of a cell; `None` if the method failed, or the map has none."""
    if cell.error is not None:
        return None
    value: float | None = getattr(cell, column.name) if column in ALWAYS else cell.figures.get(column.name)
    return value


def write_verdict(cells: Mapping[tuple[str, str], Cell], names: Sequence[str], against: str, out: Path) -> None:
    """Print the ranks, and write `ranks.csv`, `significance.csv` and `agreement.csv` into `out`.

    Args:
        cells: by image and method.
        names: the methods.
        against: the method that the others are tested against.
    """
    columns = columns_of(list(cells.values()))
    images = list(dict.fromkeys(image for image, _ in cells))
    figures = {column.name: _figures(cells, names, images, column) for column in columns}
    places = {
        column.name: ranks(figures[column.name].nanmean(dim=1), higher_is_better=column.higher) for column in columns
    }
    tests = paired_tests(figures, names, against)
    marked = {(row["method"], row["measure"]) for row in tests if row["p, corrected"] < LEVEL}
    rows = [_row(name, index, places) for index, name in enumerate(names)]
    order = sorted(range(len(names)), key=lambda index: rows[index]["mean rank"] or math.inf)
    write_csv([rows[index] for index in order], out / RANKS)
    say("")
    print_table([_marked(rows[index], marked) for index in order])
    whole = [places[column.name] for column in columns if not places[column.name].isnan().any()]
    agree = concordance(torch.stack(whole)) if whole else math.nan
    words = "" if math.isnan(agree) else f"; the measures agree by {agree:.2f} (Kendall's W: 1 alike, 0 not at all)"
    say(f"ranks under each measure, 1 is best{words}")
    (out / TESTS).unlink(missing_ok=True)  # those of more pictures
    if tests:
        write_csv(tests, out / TESTS)
        say(
            f"* differs from {against} on the same images (p < {LEVEL} after Holm's correction for {len(tests)} "
            f"tests); all tests in {out / TESTS}"
        )
    _write_agreement(cells, names, images, out / AGREEMENT)


def paired_tests(figures: Mapping[str, Tensor], names: Sequence[str], against: str) -> list[dict[str, Any]]:
    """A row for each method other than `against` and each measure, with p-values corrected for all of them.

    One image can tell nothing about others, so it gets no row.

    Args:
        figures: by column, `(methods, images)`, NaN where there is none.
    """
    rows, own = [], list(names).index(against)
    for index, name in enumerate(names):
        for column, values in figures.items():
            differences = values[index] - values[own]
            differences = differences[differences.isfinite()]
            if index != own and len(differences) > 1:
                mean = mean_interval(differences)
                rows.append(
                    {
                        "method": name,
                        "against": against,
                        "measure": column,
                        "images": len(differences),
                        "difference": round(mean.value, 5),
                        "low": round(mean.low, 5),
                        "high": round(mean.high, 5),
                        "p": paired_p_value(differences),
                    }
                )
    corrected = holm(torch.tensor([row["p"] for row in rows], dtype=torch.double)).tolist()
    return [{**row, "p, corrected": value} for row, value in zip(rows, corrected, strict=True)]


def _figures(
    cells: Mapping[tuple[str, str], Cell], names: Sequence[str], images: Sequence[str], column: Column
) -> Tensor:
    """The figures of one column, `(methods, images)`, NaN where there is none."""
    found = [[figure(cells[image, name], column) for image in images] for name in names]
    return torch.tensor([[math.nan if each is None else each for each in row] for row in found], dtype=torch.double)


def _row(name: str, index: int, places: Mapping[str, Tensor]) -> dict[str, Any]:
    own = {column: None if place[index].isnan() else place[index].item() for column, place in places.items()}
    known = [each for each in own.values() if each is not None]
    return {"method": name, **own, "mean rank": sum(known) / len(known) if known else None}


def _marked(row: dict[str, Any], marked: set[tuple[str, str]]) -> dict[str, Any]:
    return {column: f"{value:g}*" if (row["method"], column) in marked else value for column, value in row.items()}


def _write_agreement(
    cells: Mapping[tuple[str, str], Cell], names: Sequence[str], images: Sequence[str], path: Path
) -> None:
    """Write the rank correlations of maps between methods, mean over the images for which all methods have one."""
    maps = [[cells[image, name].values for name in names] for image in images]
    whole = [torch.stack(row) for row in maps if all(each is not None for each in row)]  # type: ignore[arg-type]
    if len({row.shape for row in whole}) != 1:
        return
    matrix = map_agreement(torch.stack(whole, dim=1))
    write_csv(
        [
            {"method": name, **{other: round(value, 5) for other, value in zip(names, row, strict=True)}}
            for name, row in zip(names, matrix.tolist(), strict=True)
        ],
        path,
    )
