"""Lines and tables that are said, and files that are written whole or not at all."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """The name of a file to write within the block, which then takes the place of `path`.

    A folder that is in the place of either is kept under another name.

    Raises:
        OSError: as `naming` does.
    """
    partial = path.with_name(path.name + ".partial")
    with naming(path):
        for place in (partial, path):
            if place.is_dir():
                set_aside(place, "is a folder where a file belongs")
        try:
            yield partial
        except OSError:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise
        partial.replace(path)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Within the block, an error of the system is raised as one that names `path` and says what to do."""
    try:
        yield
    except OSError as error:
        why = f"cannot be written ({error.strerror or error}); free space on its disk, or allow writing to its folder"
        raise OSError(error.errno, why, str(path)) from error


def set_aside(path: Path, why: str) -> None:
    """Keep what is damaged under another name, and say so."""
    aside = free_name(path)
    path.replace(aside)
    say(f"{path} {why}; it is kept as {aside}", err=True)


def free_name(path: Path) -> Path:
    """The name for what is damaged; with a number where there is one already."""
    aside, number = path.with_name(path.name + ".damaged"), 2
    while aside.exists():
        aside, number = path.with_name(f"{path.name}.damaged-{number}"), number + 1
    return aside


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
    with written_whole(path) as partial, partial.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows({key: _inert(value) for key, value in row.items()} for row in rows)


def write_text(path: Path, text: str) -> None:
    """Write a text, whole or not at all."""
    with written_whole(path) as partial:
        partial.write_text(text)


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
