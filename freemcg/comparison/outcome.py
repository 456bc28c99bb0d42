"""What a comparison leaves behind: its tables, printed and as CSV, the maps side by side, and a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from freemcg.blackbox import BlackBox
from freemcg.comparison.cells import Cell, other_methods
from freemcg.comparison.page import TABLE, keep_pictures, try_to_write_comparison_page
from freemcg.comparison.published import write_published
from freemcg.comparison.recipe import Entry, Published
from freemcg.comparison.remarks import blank_maps, left_out_by_pic, references_of_completeness, write_remarks
from freemcg.comparison.report import print_report, say_failures, write_grid
from freemcg.comparison.tangents import Tangents
from freemcg.comparison.verdict import columns_of, write_verdict
from freemcg.messages.terminal import say
from freemcg.show.tables import write_csv

GRID = "grid.png"


def write_outcome(
    rows: list[dict[str, Any]],
    cells: dict[tuple[str, str], Cell],
    images: Mapping[str, Tensor],
    entries: Sequence[Entry],
    out: Path,
    *,
    black_box: BlackBox,
    own: Mapping[str, bool],
    tangents: Tangents,
    against: str,
    published: Published | None,
) -> None:
    """Print and write everything. Without a single map nothing is written, and a line says so.

    Args:
        rows: those of `comparison.csv`.
        cells: by image and method.
        images, entries: those of this start, in order.
        out: the folder of the results.
        own: whether each method has a base-point and a score of its own.
    """
    every, names = list(cells.values()), [entry.name for entry in entries]
    if all(cell.values is None for cell in every):
        say_failures(every, names)
        say("no map was made, so no table and no page is written", err=True)
        return
    write_csv(rows, out / TABLE)
    write_grid(images, names, cells, black_box, out / GRID)
    keep_pictures(images, out)
    print_report(every, columns_of(every), entries, tangents, out / GRID, out / TABLE)
    say_failures(every, names)
    if others := other_methods(out, images, names):
        say(f"left out of the tables and the page this time, though {out} has maps of them: {', '.join(others)}")
    remarks = write_verdict(cells, names, against, out)
    write_published(published, every, out)
    rest = [*left_out_by_pic(cells), *references_of_completeness(cells, own)]
    write_remarks([*blank_maps(cells, names), *remarks, *rest], out)
    try_to_write_comparison_page(out)
