"""Tables: printed, and written as CSV. Files are written whole or not at all."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import typer


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print rows with the same keys in columns."""
    lines = [list(rows[0])] + [[_cell(value) for value in row.values()] for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def write_csv(rows: list[dict[str, Any]], path: Path) -> None:
    """Write rows with the same keys, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    partial.replace(path)


def write_text(path: Path, text: str) -> None:
    """Write a text, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    partial.replace(path)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
