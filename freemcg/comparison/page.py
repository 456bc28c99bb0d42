"""The page of a comparison, made from its cells and its table."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

from torch import Tensor

from freemcg.comparison.beside import remarks_in, tables_in
from freemcg.comparison.cells import SHOWN_IMAGES, load_cell, picture_path
from freemcg.comparison.leads import figures_of, measured, who_leads
from freemcg.comparison.measure import Column
from freemcg.comparison.measures import COLUMNS
from freemcg.comparison.published import SOURCE
from freemcg.comparison.verdict import NOTE, RANKS, TESTS
from freemcg.files.images import read_image, write_image
from freemcg.messages.errors import InvalidValue, sentence_of
from freemcg.messages.terminal import say
from freemcg.show.page.methods import Measure, Method, Pictured, method_title, write_methods
from freemcg.show.page.palette import signed_colours
from freemcg.show.page.pictures import LOSSLESS, data_address
from freemcg.show.page.planes import top_of
from freemcg.show.page.standing import PairedTest, Ranked, Standing
from freemcg.show.tables import read_csv

TABLE = "comparison.csv"
TEXTS = {"method", "image", "target", "unit", "blank", "error", "against", "measure", NOTE}
TEXTS |= {"remark", "here", SOURCE, "folder"}
COMPARED = {"method", "image", "target", "unit", "error", "cost"}
TESTED = {"method", "against", "measure", "difference", "low", "high", "p, corrected"}


def keep_pictures(images: Mapping[str, Tensor], out: Path) -> None:
    """Write the first pictures beside their cells, since cells hold none."""
    for name, image in list(images.items())[:SHOWN_IMAGES]:
        write_image(image, picture_path(out, name))


def write_comparison_page(out: Path) -> Path:
    """Write `report.html` of the comparison in a folder. Cells are read one at a time.

    Raises:
        ValueError: a table in the folder holds no row, or was damaged.
    """
    rows = _table(out / TABLE, COMPARED)
    images = list(dict.fromkeys(row["image"] for row in rows))
    shown = images[:SHOWN_IMAGES]
    targets = {row["image"]: row["target"] for row in rows}
    columns = [column for name, column in COLUMNS.items() if name in rows[0]]
    methods = [
        _method(name, columns, [row for row in rows if row["method"] == name], shown, out)
        for name in dict.fromkeys(row["method"] for row in rows)
    ]
    pictures = [Pictured(image, targets[image], _picture(picture_path(out, image))) for image in shown]
    measures = [Measure(_title(each.name), each.higher, each.meaning) for each in columns]
    return write_methods(
        methods,
        measures,
        pictures,
        len(images),
        out,
        _standing(columns, out),
        lede=who_leads(methods, measures, [figures_of(column.name, rows) for column in columns]),
        remarks=remarks_in(out, _table),
        tables=tables_in(out, _table),
    )


def try_to_write_comparison_page(out: Path) -> None:
    """Write the page at the end of a comparison. If that fails, one line says so, and nothing else is lost."""
    try:
        say(f"the page for a browser is {write_comparison_page(out)}")
    except Exception as error:
        why, again = sentence_of(error), f"freemcg report {out}"
        say(f"the page could not be written ({why}); the results are kept, and {again} tries again", err=True)


def _standing(columns: Sequence[Column], out: Path) -> Standing | None:
    """The ranks and tests that a comparison wrote; `None` if there are no ranks for these columns."""
    ranks = _table(out / RANKS, {"method", "mean rank"}) if (out / RANKS).is_file() else []
    if not ranks or any(column.name not in ranks[0] for column in columns):
        return None
    tests = _table(out / TESTS, TESTED) if (out / TESTS).is_file() and len(ranks) > 1 else []
    found = {(row["method"], row["measure"]): row for row in tests}
    rows = [
        Ranked(
            method_title(row["method"]),
            _number(row["mean rank"]),
            [_number(row[column.name]) for column in columns],
            [_test(found.get((row["method"], column.name)), higher=column.higher) for column in columns],
        )
        for row in ranks
    ]
    return Standing(rows, method_title(tests[0]["against"]) if tests else "", len(tests))


def _table(path: Path, names: AbstractSet[str] = frozenset()) -> list[dict[str, str]]:
    """The rows of a table. Each has `names` and no text but in `TEXTS`."""
    try:
        rows = read_csv(path)
        for row in rows:
            for name in row.keys() - TEXTS:
                _number(row[name])
        if rows and names <= rows[0].keys():
            return rows
    except (csv.Error, ValueError, TypeError, AttributeError):
        pass  # a row that is cut holds no text, and one that is too long holds a list
    raise InvalidValue(f"{path} is not what a comparison writes; run the comparison again, which writes it anew")


def _test(row: Mapping[str, str] | None, *, higher: bool) -> PairedTest | None:
    """A row of `significance.csv`, turned so that more is better."""
    if row is None:
        return None
    ends = [(1 if higher else -1) * float(row[key]) for key in ("low", "high")]
    return PairedTest(
        (1 if higher else -1) * float(row["difference"]), min(ends), max(ends), float(row["p, corrected"])
    )


def _number(text: str) -> float | None:
    return float(text) if text else None


def _title(column: str) -> str:
    return column.replace("_", " ").capitalize()


def _method(
    name: str, columns: Sequence[Column], rows: Sequence[Mapping[str, str]], shown: Sequence[str], out: Path
) -> Method:
    done = [row for row in rows if not row["error"]]
    failed = [row for row in rows if row["error"]]
    cost = sum(float(row["cost"]) for row in done) / len(done) if done else 0.0
    unit = rows[0]["unit"]
    return Method(
        name=name,
        cost=f"{cost:,.0f} {unit.removesuffix('s') if round(cost) == 1 and unit != 'queries' else unit}",
        weights=unit == "gradients",
        maps=[_map(out, image, name) for image in shown],
        measured=[measured([float(row[column.name] or "nan") for row in done]) for column in columns],
        failed=len(failed),
        why=failed[0]["error"] if failed else "",
    )


def _map(out: Path, image: str, method: str) -> str | None:
    cell = load_cell(out, image, method)
    if cell is None or cell.values is None:
        return None
    values = cell.values.sum(dim=0)
    return data_address(signed_colours(values, top_of(values)), LOSSLESS)


def _picture(path: Path) -> str | None:
    try:
        return data_address(read_image(path, channels=3), LOSSLESS)
    except (FileNotFoundError, InvalidValue):  # a damaged one is shown no more
        return None
