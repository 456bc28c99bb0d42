"""A memory of answers in one sqlite file, so that what was paid for once is not paid for again."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import weakref
import zlib
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from freemcg.files.whole import free_name, naming, set_aside
from freemcg.messages.errors import InvalidValue
from freemcg.messages.terminal import say

Found = TypeVar("Found")

OWN_FILE = "answers.sqlite"  # what a job calls its own cache
APPLICATION_ID = 0x464D4347  # "FMCG", in the header of the file
LONGEST_WAIT = 60.0
AT_ONCE = 500
UNREADABLE = (sqlite3.DatabaseError, UnicodeDecodeError)  # the latter where sqlite repeats damaged text
VERSION = 1  # of the file: every row has a checksum
CHECKSUM = 4  # bytes after the numbers of a row
_COLUMNS = ["model", "scores", "image", "answer"]
# how sqlite begins its messages; Python 3.10 knows no error codes
_IN_USE = ("database is locked", "database table is locked", "database schema is locked")
_UNWRITABLE = ("database or disk is full", "disk I/O error", "attempt to write a readonly", "unable to open database")


@dataclass(frozen=True)
class CachedModel:
    """What a cache holds of one model and kind of answer."""

    model: str
    scores: str
    answers: int


class QueryCache:
    """Answers by the model's identity, the kind of scores and the exact bytes of the image.

    Several processes may share a file (on a local disk: sqlite's write-ahead log needs shared memory). Each `put` is
    written whole or not at all, and a black box puts the answers of a request as soon as they are here. So a process
    that is killed loses at most the requests that were under way: as many batches as it sends at a time.

    A file that cannot be read any more is set aside: it gets `.damaged` after its name, one line on the error stream
    says so, and a new file takes its place. An answer that was damaged is forgotten.

    Args:
        path: the file; made, with its folder, where it is not there.

    Raises:
        ValueError: the file is something else, is in use for long, or cannot be written; from any method too.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if self.path.is_dir() and self.path.name != OWN_FILE:
            raise InvalidValue(f"{path} is a folder; a cache is a file, such as {self.path / OWN_FILE}")
        with naming(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._connect()
        self._with_file(lambda connection: None)

    def __repr__(self) -> str:
        return f"QueryCache({str(self.path)!r})"

    def get(self, model: str, scores: str, keys: Sequence[bytes]) -> dict[bytes, Tensor]:
        """The rows that are known, by their keys, float64; damaged ones are forgotten."""
        found: dict[bytes, Tensor] = {}
        damaged: list[bytes] = []
        for start in range(0, len(keys), AT_ONCE):
            some = keys[start : start + AT_ONCE]
            marks = ", ".join("?" * len(some))
            query = f"SELECT image, answer FROM answers WHERE model = ? AND scores = ? AND image IN ({marks})"
            for key, packed in self._rows(query, (model, scores, *some)):
                row = _unpacked(model, scores, key, packed, checked=self._checked)
                if row is None:
                    damaged.append(key)
                else:
                    found[key] = row
        self.forget(model, scores, damaged)
        return found

    def put(self, model: str, scores: str, keys: Sequence[bytes], rows: Tensor) -> None:
        """Remember rows of scores `(N, S)`, as float64; an answer that is there already stays."""
        packed = [row.tobytes() for row in rows.cpu().numpy().astype("<f8")]
        values = [
            (model, scores, key, row + _checksum(model, scores, key, row))
            for key, row in zip(keys, packed, strict=True)
        ]
        self._write("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?)", values)

    def sound(
        self, model: str, scores: str, keys: list[bytes], numbers: Callable[[Tensor], Tensor]
    ) -> dict[bytes, Tensor]:
        """What `get` finds and `numbers` says to be numbers throughout; the rest is forgotten."""
        known = self.get(model, scores, keys)
        unsound = [key for key, row in known.items() if not numbers(row).all()]
        self.forget(model, scores, unsound)
        return {key: row for key, row in known.items() if key not in unsound}

    def forget(self, model: str, scores: str, keys: Sequence[bytes]) -> None:
        """Forget the answers about some images."""
        if keys:
            values = [(model, scores, key) for key in keys]
            self._write("DELETE FROM answers WHERE model = ? AND scores = ? AND image = ?", values)

    def models(self) -> list[CachedModel]:
        """What the cache holds, a line a model and kind of scores."""
        query = "SELECT model, scores, COUNT(*) FROM answers GROUP BY model, scores ORDER BY model, scores"
        return [CachedModel(*row) for row in self._rows(query)]

    def clear(self, model: str | None = None) -> int:
        """Forget the answers of a model, or all; returns how many there were."""
        query, values = (
            ("DELETE FROM answers", ()) if model is None else ("DELETE FROM answers WHERE model = ?", (model,))
        )
        return self._with_file(lambda file: file.execute(query, values).rowcount)

    def _rows(self, query: str, values: Sequence[str | bytes] = ()) -> list[Any]:
        return self._with_file(lambda file: file.execute(query, values).fetchall())

    def _write(self, statement: str, values: Sequence[tuple[str | bytes, ...]]) -> None:
        def write(file: sqlite3.Connection) -> None:
            file.execute("BEGIN IMMEDIATE")
            with file:  # commits, or rolls back where it is interrupted
                file.executemany(statement, values)

        self._with_file(write)

    def _with_file(self, act: Callable[[sqlite3.Connection], Found]) -> Found:
        """Do something with the file, on one thread at a time; where it cannot be read, with a new one."""
        with self._lock:
            try:
                self._open()
                return act(self._connection)
            except sqlite3.ProgrammingError:
                raise
            except UNREADABLE as error:
                aside = self._refuse_or_set_aside(error)
                self._connect()
                self._open()
                if aside is not None:
                    self._take_over(aside, error)
            return act(self._connection)

    def _take_over(self, damaged: Path, error: Exception) -> None:
        """Keep the answers of a damaged file that can still be read and are what was written, and say so."""
        before = self._connection.total_changes
        self._connection.execute("BEGIN IMMEDIATE")
        with self._connection, closing(sqlite3.connect(damaged)) as file, suppress(*UNREADABLE):
            file.text_factory = partial(str, encoding="utf-8", errors="replace")
            for row in file.execute("SELECT model, scores, image, answer FROM answers"):
                if _unpacked(*row) is not None:
                    self._connection.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?)", row)
        taken = self._connection.total_changes - before
        say(
            f"the cache {self.path} cannot be read ({error}); it is kept as {damaged}, and a new one begun with "
            f"{taken} answers of it",
            err=True,
        )

    def _connect(self) -> None:
        for part in _parts(self.path):
            if part.is_dir():
                set_aside(part, "is a folder where a file of the cache belongs")
        try:
            self._connection = sqlite3.connect(
                self.path, timeout=LONGEST_WAIT, isolation_level=None, check_same_thread=False
            )
        except sqlite3.OperationalError as error:
            raise InvalidValue(_unwritable(self.path, error)) from None
        self._opened: os.stat_result | None = None
        self.close = weakref.finalize(self, self._connection.close)

    def _open(self) -> None:
        """Make what the file must hold, and look that it does; once a connection."""
        if self._opened is not None:
            return
        file = self._connection
        (found,) = file.execute("PRAGMA application_id").fetchone()
        (tables,) = file.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        if found != APPLICATION_ID and tables > 0:
            raise sqlite3.DatabaseError("another program's database")
        file.execute("PRAGMA journal_mode = WAL")
        file.execute("PRAGMA synchronous = NORMAL")
        if found != APPLICATION_ID:
            file.execute(f"PRAGMA user_version = {VERSION}")
            file.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        self._checked = file.execute("PRAGMA user_version").fetchone() != (0,)
        file.execute(
            "CREATE TABLE IF NOT EXISTS answers (model TEXT, scores TEXT, image BLOB, answer BLOB, "
            "PRIMARY KEY (model, scores, image)) WITHOUT ROWID"
        )
        if [row[1] for row in file.execute("PRAGMA table_info(answers)")] != _COLUMNS:
            raise sqlite3.DatabaseError("its tables are of another version")
        self._opened = self.path.stat()

    def _refuse_or_set_aside(self, error: Exception) -> Path | None:
        """Move a file away that cannot be read, if it is a cache at all; the connection to it is closed.

        Returns:
            Where it is now; `None` where another process has moved it.
        """
        if str(error).startswith(_IN_USE):
            raise InvalidValue(
                f"{self.path} was in use by another program for {LONGEST_WAIT:g} s ({error}); end that program, or "
                "name another file with --cache"
            ) from None
        if str(error).startswith(_UNWRITABLE):
            raise InvalidValue(_unwritable(self.path, error)) from None
        self.close()
        if self._opened is None and not _is_cache(self.path):
            raise InvalidValue(
                f"{self.path} is no query cache ({error}); name another file with --cache, or move this one away"
            ) from None
        if self._opened is not None and not os.path.samestat(self._opened, self.path.stat()):
            return None
        aside = free_name(self.path)
        for part, place in zip(_parts(self.path), _parts(aside), strict=True):
            if part.exists():
                part.replace(place)
        return aside


def _parts(path: Path) -> list[Path]:
    """The file, and those that sqlite keeps beside it."""
    return [path.with_name(path.name + end) for end in ("", "-wal", "-shm")]


def _is_cache(path: Path) -> bool:
    """Whether a file is a job's own, or bears a mark of a cache where its beginning can be read."""
    with path.open("rb") as stream:
        start = stream.read(2**16)
    return path.name == OWN_FILE or start[68:72] == APPLICATION_ID.to_bytes(4, "big") or b"TABLE answers (" in start


def _unwritable(path: Path, error: Exception) -> str:
    return (
        f"the cache {path} cannot be written ({error}); free space on its disk, allow writing to its folder, or name "
        "another file with --cache"
    )


def _checksum(model: str, scores: str, key: bytes, row: bytes) -> bytes:
    return zlib.crc32(b"\0".join((model.encode(), scores.encode(), key, row))).to_bytes(CHECKSUM, "big")


def _unpacked(model: Any, scores: Any, key: Any, packed: Any, *, checked: bool = True) -> Tensor | None:
    """The numbers of a row; nothing where it is damaged. A row of an older file may have no checksum."""
    if [type(each) for each in (model, scores, key, packed)] != [str, str, bytes, bytes]:
        return None
    row, checksum = (packed[:-CHECKSUM], packed[-CHECKSUM:]) if checked or len(packed) % 8 else (packed, None)
    if not row or len(row) % 8 or (checksum is not None and checksum != _checksum(model, scores, key, row)):
        return None
    return torch.from_numpy(np.frombuffer(row, dtype="<f8").copy())


def image_key(image: Tensor) -> bytes:
    """A digest of an image's exact bytes, shape and dtype."""
    array = image.cpu().contiguous().numpy()
    digest = hashlib.blake2b(f"{array.dtype.str} {array.shape} ".encode(), digest_size=20)
    digest.update(array.tobytes())
    return digest.digest()
