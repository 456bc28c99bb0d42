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
from freemcg.comparison.ranking import Ranking, ranked
from freemcg.evaluation.agreement import map_agreement
from freemcg.evaluation.intervals import mean_interval
from freemcg.evaluation.significance import holm, paired_p_value
from freemcg.messages.terminal import say
from freemcg.show.tables import print_table, write_csv

RANKS, TESTS, AGREEMENT = "ranks.csv", "significance.csv", "agreement.csv"
NOTE = "note"
LEVEL = 0.05


def columns_of(cells: Sequence[Cell]) -> list[Column]:
    """The columns that the cells have figures for, in the order of `COLUMNS`."""
    found = {name for cell in cells for name in cell.figures}
    return [*ALWAYS, *(column for name, column in COLUMNS.items() if name in found)]


def figure(cell: Cell, column: Column) -> float | None:
    """A figure of a cell; `None` if the method failed, or the map has none or is zero everywhere."""
    if cell.error is not None or cell.blank:
        return None
    value: float | None = getattr(cell, column.name) if column in ALWAYS else cell.figures.get(column.name)
    return value


def write_verdict(cells: Mapping[tuple[str, str], Cell], names: Sequence[str], against: str, out: Path) -> list[str]:
    """Print the ranks, and write `ranks.csv`, `significance.csv` and `agreement.csv` into `out`.

    Args:
        cells: by image and method.
        names: the methods.
        against: the method that the others are tested against.

    Returns:
        What a reader of the ranks must know, in sentences.
    """
    columns = columns_of(list(cells.values()))
    images = list(dict.fromkeys(image for image, _ in cells))
    figures = {column.name: _figures(cells, names, images, column) for column in columns}
    ranking = ranked(figures, columns, names)
    tests = paired_tests(figures, names, against)
    marked = {(row["method"], row["measure"]) for row in tests if row["p, corrected"] < LEVEL}
    rows = [_row(index, ranking, columns) for index in range(len(names))]
    rows.sort(key=lambda row: row["mean rank"] or math.inf)
    write_csv([{**row, NOTE: _note(ranking, row["method"])} for row in rows], out / RANKS)
    say("")
    print_table([_marked(row, marked) for row in rows])
    say("ranks under each measure, 1 is best")
    (out / TESTS).unlink(missing_ok=True)  # those of more pictures
    if tests:
        write_csv(tests, out / TESTS)
        say(
            f"* differs from {against} on the same images (p < {LEVEL} after Holm's correction for {len(tests)} "
            f"tests); all tests in {out / TESTS}"
        )
    _write_agreement(cells, names, images, out / AGREEMENT)
    return ranking.remarks


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


def _row(index: int, ranking: Ranking, columns: Sequence[Column]) -> dict[str, Any]:
    places = {column.name: ranking.places.get(column.name) for column in columns}
    own = {
        name: None if place is None or place[index].isnan() else place[index].item() for name, place in places.items()
    }
    return {"method": ranking.names[index], **own, "mean rank": ranking.means[index]}


def _note(ranking: Ranking, name: str) -> str:
    """What the row of a method rests on, in words."""
    if lacking := ranking.lacking(name):
        return f"no mean rank, since figures are lacking under {', '.join(lacking)}"
    fewer = [f"{column} on {count}" for column, count in ranking.images.items() if count < ranking.of]
    return f"of {ranking.of} images, ranked under {', '.join(fewer)}" if fewer else ""


def _marked(row: dict[str, Any], marked: set[tuple[str, str]]) -> dict[str, Any]:
    return {column: f"{value:g}*" if (row["method"], column) in marked else value for column, value in row.items()}


def _write_agreement(
    cells: Mapping[tuple[str, str], Cell], names: Sequence[str], images: Sequence[str], path: Path
) -> None:
    """Write the rank correlations of maps between methods, mean over the images for which all methods have one.

    If there is no such image, the table of an earlier start is removed.
    """
    path.unlink(missing_ok=True)
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
