"""Tables: printed, and written as CSV. Files are written whole or not at all."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import typer

LIVE = ("=", "+", "-", "@", "\t", "\r")


def printable(text: str) -> str:
    """A text with its control characters escaped, so that no name moves the cursor of a terminal."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def say(*lines: str, err: bool = False) -> None:
    """Print lines, as `printable` has each, on the output or the error stream."""
    for line in lines:
        typer.echo(printable(line), err=err)


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print rows with the same keys in columns."""
    lines = [list(rows[0])] + [[_cell(value) for value in row.values()] for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def write_csv(rows: list[dict[str, Any]], path: Path) -> None:
    """Write rows with the same keys, whole or not at all.

    A text that a spreadsheet would take for a formula gets an apostrophe before it.
    """
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows({key: _inert(value) for key, value in row.items()} for row in rows)
    partial.replace(path)


def write_text(path: Path, text: str) -> None:
    """Write a text, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    partial.replace(path)


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
