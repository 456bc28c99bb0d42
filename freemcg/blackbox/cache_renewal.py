"""A damaged cache is made anew from its sound answers. A kill at any point of it loses none of them."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from freemcg.blackbox.cache_file import INSERT, UNREADABLE, make_table, parts
from freemcg.blackbox.cache_salvage import sound_rows
from freemcg.files.whole import free_name, naming, written_whole
from freemcg.messages.terminal import say

LONGEST_WAIT = 60.0


def renew(path: Path, opened: os.stat_result | None, error: Exception) -> None:
    """Put a new file with the sound answers in the place of a damaged one, which is kept under another name.

    Nothing is done if another process has made it anew meanwhile.

    Args:
        path: the file. No connection of this process to it is open.
        opened: the file that was found damaged; `None` if it was not opened yet.
        error: what is wrong with it.

    Raises:
        OSError, sqlite3.OperationalError: the new file cannot be written. The damaged one stays.
    """
    with _alone(path):
        if not os.path.samestat(opened, path.stat()) if opened is not None else _is_sound(path):
            return
        with written_whole(_renewed(path)) as partial:
            taken = _copy(path, partial)
        aside = _put_in_place(path)
    say(
        f"the cache {path} cannot be read ({error}); it is kept as {aside}, and a new one begins with "
        f"{taken} of its answers",
        err=True,
    )


def _copy(damaged: Path, partial: Path) -> int:
    """Write the sound answers into a new file, and return their number. If they do not fit, nothing is left of it."""
    partial.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(partial, isolation_level=None)) as file:
            file.execute("PRAGMA journal_mode = OFF")
            make_table(file)
            file.execute("BEGIN")
            taken = file.executemany(INSERT, sound_rows(damaged)).rowcount
            file.execute("COMMIT")
    except sqlite3.OperationalError:
        partial.unlink(missing_ok=True)
        raise
    return max(taken, 0)


def go_on(path: Path) -> None:
    """Finish what a killed process began. Nothing is done if there was none."""
    if not _renewed(path).is_file():
        return
    with _alone(path):
        if _renewed(path).is_file():
            _put_in_place(path)
            say(f"the cache {path} was damaged; it is kept beside it, and a new one has its sound answers", err=True)


def _put_in_place(path: Path) -> Path:
    """Move the damaged file away, and the new one to its place. The damaged file's new path is returned."""
    aside = free_name(path)
    for part, place in zip(parts(path), parts(aside), strict=True):
        if part.exists():
            with naming(part):
                part.replace(place)
    with naming(path):
        _renewed(path).replace(path)
    return aside


def _renewed(path: Path) -> Path:
    """The new file before it is in its place. It is whole if it is there."""
    return path.with_name(path.name + ".renewed")


def _is_sound(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(path, timeout=LONGEST_WAIT, isolation_level=None)) as file:
            file.execute("PRAGMA journal_mode = WAL")
            make_table(file)
    except UNREADABLE:
        return False
    return True


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """A block in which no other process of this machine makes the same cache anew."""
    name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()
    lock = Path(tempfile.gettempdir(), f"freemcg-{name[:16]}.lock")
    with closing(sqlite3.connect(lock, timeout=LONGEST_WAIT, isolation_level=None)) as file:
        file.execute("BEGIN EXCLUSIVE")  # ends with the connection, even at a kill
        yield
