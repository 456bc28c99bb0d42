"""Tables, which are printed or written as CSV."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from freemcg.files.whole import written_whole
from freemcg.messages.terminal import printable, say

LIVE = ("=", "+", "-", "@", "\t", "\r")


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print rows in columns. All rows have the same keys."""
    lines = [list(rows[0])] + [[_cell(value) for value in row.values()] for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def write_csv(rows: list[dict[str, Any]], path: Path) -> None:
    """Write rows as CSV, whole or not at all. All rows have the same keys.

    An apostrophe is put before text that a spreadsheet would take for a formula.
    """
    with written_whole(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows({key: _inert(value) for key, value in row.items()} for row in rows)


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows that `write_csv` wrote, as text, without the apostrophes that it put before formulas."""
    with path.open(newline="", encoding="utf-8") as stream:
        return [{key: _alive(value) for key, value in row.items()} for row in csv.DictReader(stream)]


def _alive(text: str) -> str:
    return text[1:] if text.startswith("'") and text[1:].startswith(LIVE) else text


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else printable(str(value))


def _inert(value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith(LIVE):
        return value
    try:
        float(value)
    except ValueError:
        return "'" + value
    return value
