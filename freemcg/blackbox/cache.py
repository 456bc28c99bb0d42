"""A memory of answers in one sqlite file. It saves paying twice for an answer."""

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

OWN_FILE = "answers.sqlite"  # the name of a job's own cache
APPLICATION_ID = 0x464D4347  # "FMCG", in the header of the file
LONGEST_WAIT = 60.0
AT_ONCE = 500
UNREADABLE = (sqlite3.DatabaseError, UnicodeDecodeError)  # sqlite repeats damaged text in some errors
VERSION = 1  # files of this version have a checksum in every row
CHECKSUM = 4  # bytes, after the numbers of a row
_COLUMNS = ["model", "scores", "image", "answer"]
# sqlite begins its messages so; Python 3.10 has no error codes
_IN_USE = ("database is locked", "database table is locked", "database schema is locked")
_UNWRITABLE = ("database or disk is full", "disk I/O error", "attempt to write a readonly", "unable to open database")


@dataclass(frozen=True)
class CachedModel:
    """The number of answers that a cache holds for one model and kind of scores."""

    model: str
    scores: str
    answers: int


class QueryCache:
    """Keeps answers by the model's identity, the kind of scores and the exact bytes of the image.

    Several processes may share a file on a local disk (sqlite's write-ahead log needs shared memory). Each `put` is
    written whole or not at all. A black box puts the answers of a request as soon as they arrive. So a killed process
    loses at most the requests that were under way: as many batches as it sends at a time.

    A file that can no longer be read is set aside, with `.damaged` after its name. A new file takes its place, and one
    line on the error stream says so. A damaged answer is forgotten.

    Args:
        path: the file. It is made, with its folder, if it is missing.

    Raises:
        ValueError: the file is something else, is in use for long, or cannot be written. Any method may raise this.
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
        """The known rows by their keys, float64. Damaged rows are forgotten."""
        found: dict[bytes, Tensor] = {}
        damaged: list[bytes] = []
        for start in range(0, len(keys), AT_ONCE):
            batch = keys[start : start + AT_ONCE]
            marks = ", ".join("?" * len(batch))
            query = f"SELECT image, answer FROM answers WHERE model = ? AND scores = ? AND image IN ({marks})"
            for key, packed in self._rows(query, (model, scores, *batch)):
                row = _unpacked(model, scores, key, packed, checked=self._checked)
                if row is None:
                    damaged.append(key)
                else:
                    found[key] = row
        self.forget(model, scores, damaged)
        return found

    def put(self, model: str, scores: str, keys: Sequence[bytes], rows: Tensor) -> None:
        """Remember rows of scores `(N, S)`, as float64. An answer that is there already stays."""
        packed = [row.tobytes() for row in rows.cpu().numpy().astype("<f8")]
        values = [
            (model, scores, key, row + _checksum(model, scores, key, row))
            for key, row in zip(keys, packed, strict=True)
        ]
        self._write("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?)", values)

    def sound(
        self, model: str, scores: str, keys: list[bytes], numbers: Callable[[Tensor], Tensor]
    ) -> dict[bytes, Tensor]:
        """The rows of `get` in which `numbers` accepts every entry. Other rows are forgotten."""
        known = self.get(model, scores, keys)
        unsound = [key for key, row in known.items() if not numbers(row).all()]
        self.forget(model, scores, unsound)
        return {key: row for key, row in known.items() if key not in unsound}

    def forget(self, model: str, scores: str, keys: Sequence[bytes]) -> None:
        """Forget the answers to some images."""
        if keys:
            values = [(model, scores, key) for key in keys]
            self._write("DELETE FROM answers WHERE model = ? AND scores = ? AND image = ?", values)

    def models(self) -> list[CachedModel]:
        """What the cache holds, one entry for each model and kind of scores."""
        query = "SELECT model, scores, COUNT(*) FROM answers GROUP BY model, scores ORDER BY model, scores"
        return [CachedModel(*row) for row in self._rows(query)]

    def clear(self, model: str | None = None) -> int:
        """Forget the answers of a model, or of all models, and return their number."""
        query, values = (
            ("DELETE FROM answers", ()) if model is None else ("DELETE FROM answers WHERE model = ?", (model,))
        )
        return self._with_file(lambda file: file.execute(query, values).rowcount)

    def _rows(self, query: str, values: Sequence[str | bytes] = ()) -> list[Any]:
        return self._with_file(lambda file: file.execute(query, values).fetchall())

    def _write(self, statement: str, values: Sequence[tuple[str | bytes, ...]]) -> None:
        def write(file: sqlite3.Connection) -> None:
            file.execute("BEGIN IMMEDIATE")
            with file:  # commits, or rolls back if it is interrupted
                file.executemany(statement, values)

        self._with_file(write)

    def _with_file(self, act: Callable[[sqlite3.Connection], Found]) -> Found:
        """Act on the file, one thread at a time. If it cannot be read, act on a new file."""
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
        """Copy the answers of a damaged file that can still be read and are sound, and say so."""
        before = self._connection.total_changes
        self._connection.execute("BEGIN IMMEDIATE")
        with self._connection, closing(sqlite3.connect(damaged)) as file, suppress(*UNREADABLE):
            file.text_factory = partial(str, encoding="utf-8", errors="replace")
            for row in file.execute("SELECT model, scores, image, answer FROM answers"):
                if _unpacked(*row) is not None:
                    self._connection.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?)", row)
        taken = self._connection.total_changes - before
        say(
            f"the cache {self.path} cannot be read ({error}); it is kept as {damaged}, and a new one begins with "
            f"{taken} of its answers",
            err=True,
        )

    def _connect(self) -> None:
        for part in _parts(self.path):
            if part.is_dir():
                with naming(part):
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
        """Make the table and check the file, once per connection."""
        if self._opened is not None:
            return
        file = self._connection
        (found,) = file.execute("PRAGMA application_id").fetchone()
        (tables,) = file.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        if found != APPLICATION_ID and tables > 0:
            raise sqlite3.DatabaseError("another program's database")
        (fault,) = file.execute("PRAGMA integrity_check(1)").fetchone()
        if fault != "ok":  # a damaged key hides its neighbours from a search, and they would be paid for again
            raise sqlite3.DatabaseError(fault)
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
        """Close the connection and move away a file that cannot be read, if it is a cache at all.

        Returns:
            The file's new path; `None` if another process has moved it.
        """
        if str(error).startswith(_IN_USE):
            raise InvalidValue(
                f"{self.path} was in use by another program for {LONGEST_WAIT:g} s ({error}); end that program, or "
                "name another file with --cache"
            ) from None
        if str(error).startswith(_UNWRITABLE) and not _has_a_damaged_version(self.path):
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
                with naming(part):
                    part.replace(place)
        return aside


def _parts(path: Path) -> list[Path]:
    """The file, and the files that sqlite keeps beside it."""
    return [path.with_name(path.name + end) for end in ("", "-wal", "-shm")]


def _is_cache(path: Path) -> bool:
    """Whether a file has the name of a job's own cache, or its readable beginning bears a mark of a cache."""
    with path.open("rb") as stream:
        start = stream.read(2**16)
    return path.name == OWN_FILE or start[68:72] == APPLICATION_ID.to_bytes(4, "big") or b"TABLE answers (" in start


def _has_a_damaged_version(path: Path) -> bool:
    """Whether sqlite takes a file as one of a later format, which it only reads. Bytes 18 and 19 tell the format."""
    with path.open("rb") as stream:
        start = stream.read(20)
    return len(start) == 20 and not {*start[18:]} <= {1, 2}


def _unwritable(path: Path, error: Exception) -> str:
    return (
        f"the cache {path} cannot be written ({error}); free space on its disk, allow writing to its folder, or name "
        "another file with --cache"
    )


def _checksum(model: str, scores: str, key: bytes, row: bytes) -> bytes:
    return zlib.crc32(b"\0".join((model.encode(), scores.encode(), key, row))).to_bytes(CHECKSUM, "big")


def _unpacked(model: Any, scores: Any, key: Any, packed: Any, *, checked: bool = True) -> Tensor | None:
    """The numbers of a row; `None` if it is damaged. A row of an older file may have no checksum."""
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
