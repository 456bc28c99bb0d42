"""What a paper found, beside what was found here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from freemcg.comparison.cells import Cell
from freemcg.comparison.measures import COLUMNS
from freemcg.comparison.recipe import Published
from freemcg.comparison.report import mean_of
from freemcg.comparison.verdict import figure
from freemcg.messages.terminal import say
from freemcg.show.tables import print_table, write_csv

TABLE, SOURCE = "published.csv", "source"


def write_published(published: Published | None, cells: Sequence[Cell], out: Path) -> None:
    """Print the published figures of the methods and measures that the cells have, and write `published.csv`.

    Without any, that of an earlier start is removed.
    """
    (out / TABLE).unlink(missing_ok=True)
    rows: list[dict[str, Any]] = []
    for name, figures in published.figures.items() if published else ():
        own = [cell for cell in cells if cell.method == name]
        for column, value in figures.items():
            here = mean_of([figure(cell, COLUMNS[column]) for cell in own]) if column in COLUMNS else None
            if here is not None:
                rows.append({"method": name, "measure": column, "here": here, "published": value})
    if published is None or not rows:
        return
    write_csv([{**row, SOURCE: published.source} for row in rows], out / TABLE)
    say("")
    print_table(rows)
    say(f"published: {published.source}")
