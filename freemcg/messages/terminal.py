"""Lines printed on a terminal."""

from __future__ import annotations

import typer


def printable(text: str) -> str:
    """A text with its control characters escaped, so that no name moves the cursor of a terminal."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def say(*lines: str, err: bool = False) -> None:
    """Print lines on the output or the error stream, each made `printable`."""
    for line in lines:
        typer.echo(printable(line), err=err)
