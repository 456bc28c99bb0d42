"""What stands beside the maps on the page of a comparison, read from its folder: remarks and further tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from freemcg.comparison.published import SOURCE
from freemcg.comparison.published import TABLE as PUBLISHED
from freemcg.comparison.remarks import REMARKS
from freemcg.comparison.sides_report import SEARCHED, WORDS, sides_of, table_of
from freemcg.comparison.sides_report import TABLE as SIDES
from freemcg.comparison.verdict import AGREEMENT
from freemcg.show.page.further import Further
from freemcg.show.page.methods import method_title

Read = Callable[[Path], list[dict[str, str]]]


def remarks_in(out: Path, read: Read) -> list[str]:
    """The sentences that a comparison kept."""
    return [row["remark"] for row in read(out / REMARKS)] if (out / REMARKS).is_file() else []


def tables_in(out: Path, read: Read) -> list[Further]:
    """The further tables in a folder.

    Args:
        read: reads a table, and refuses one that was damaged.
    """
    found = []
    if (out / AGREEMENT).is_file():
        found.append(_agreement(read(out / AGREEMENT)))
    if (out / PUBLISHED).is_file():
        found.append(_published(read(out / PUBLISHED)))
    if (out / SEARCHED / SIDES).is_file():
        found.append(_searches(table_of(sides_of(read(out / SEARCHED / SIDES)))))
    return found


def _unbroken(figure: str) -> str:
    """A figure with its interval, `0.44 [0.39, 0.50]`, on one line."""
    return figure.replace(" ", "\N{NO-BREAK SPACE}") if figure.endswith(("]", "]*")) else figure


def _agreement(rows: Sequence[dict[str, str]]) -> Further:
    names = [row["method"] for row in rows]
    return Further(
        "How alike the maps are",
        "Spearman's correlation between the maps of each two methods, mean over the pictures of which all have a "
        "map: 1 if both rank the pixels alike, 0 if they have nothing in common. Methods may also be wrong alike.",
        ["Method", *map(method_title, names)],
        [[method_title(row["method"]), *(f"{float(row[name]):.2f}" for name in names)] for row in rows],
    )


def _published(rows: Sequence[dict[str, str]]) -> Further:
    return Further(
        "Beside what a paper found",
        f"{rows[0][SOURCE]}.",
        ["Method", "Measure", "Here", "Published"],
        [[method_title(row["method"]), row["measure"], _unbroken(row["here"]), row["published"]] for row in rows],
    )


def _searches(rows: Sequence[dict[str, object]]) -> Further:
    header = ["Search", *(name.capitalize() for name in list(rows[0])[1:])]
    return Further("Counterfactuals", WORDS, header, [[_unbroken(str(each)) for each in row.values()] for row in rows])
