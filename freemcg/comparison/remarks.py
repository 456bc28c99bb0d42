"""What a reader of a comparison must know beside its figures, in sentences, kept for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from freemcg.comparison.cells import Cell
from freemcg.messages.terminal import say
from freemcg.show.tables import write_csv

REMARKS = "remarks.csv"


def write_remarks(remarks: Sequence[str], out: Path) -> None:
    """Print sentences and write `remarks.csv` into `out`; without any, that of an earlier start is removed."""
    (out / REMARKS).unlink(missing_ok=True)
    if remarks:
        say("", *remarks)
        write_csv([{"remark": each} for each in remarks], out / REMARKS)


def blank_maps(cells: Mapping[tuple[str, str], Cell], names: Sequence[str]) -> list[str]:
    """Which methods made maps that are zero everywhere, and on how many images; in one sentence, if there are any."""
    found = []
    for name in names:
        own = [cell for (_, method), cell in cells.items() if method == name]
        if count := sum(cell.blank for cell in own):
            found.append(f"{name} on {count} of {len(own)} images")
    return [f"a blank map, zero everywhere, has no figures and no rank: {', '.join(found)}"] if found else []
