"""What a reader of a comparison must know beside its figures, in sentences, kept for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from freemcg.comparison.cells import Cell
from freemcg.comparison.measures import SURE
from freemcg.messages.terminal import say
from freemcg.show.tables import write_csv

REMARKS = "remarks.csv"
SIC, COMPLETENESS = "sic", "completeness_residual"


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


def left_out_by_pic(cells: Mapping[tuple[str, str], Cell]) -> list[str]:
    """On how many images no map has SIC and AIC, as Kapishnikov et al. (2019) leave them out; nothing without PIC."""
    found = dict[str, list[float | None]]()
    for (image, _), cell in cells.items():
        if SIC in cell.figures and not cell.blank:
            found.setdefault(image, []).append(cell.figures[SIC])
    if not found:
        return []
    count = sum(all(each is None for each in figures) for figures in found.values())
    return [
        f"sic and aic leave out {count} of {len(found)} images, of which the model is less than {100 * SURE:.0f} % "
        "sure, or no more sure than of a picture without its pixels"
    ]


def references_of_completeness(cells: Mapping[tuple[str, str], Cell], own: Mapping[str, bool]) -> list[str]:
    """Against what the sum of each map was measured; nothing without that measure.

    Args:
        own: whether a method has a base-point and a score of its own.
    """
    if not any(COMPLETENESS in cell.figures for cell in cells.values()):
        return []
    kinds = {
        "the method's own score and base-point": [name for name, has in own.items() if has],
        "the log-odds and the picture's mean colour": [name for name, has in own.items() if not has],
    }
    told = [f"by {what} for {', '.join(names)}" for what, names in kinds.items() if names]
    return [f"{COMPLETENESS} is taken {'; '.join(told)}"]
