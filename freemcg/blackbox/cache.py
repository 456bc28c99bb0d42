"""A memory of answers in one sqlite file. It saves paying twice for an answer."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from freemcg.blackbox.cache_file import (
    INSERT,
    OWN_FILE,
    UNREADABLE,
    has_a_damaged_version,
    is_cache,
    make_table,
    packed,
    parts,
    unpacked,
)
from freemcg.blackbox.cache_renewal import LONGEST_WAIT, go_on, renew
from freemcg.files.whole import naming, set_aside
from freemcg.messages.errors import InvalidValue

Found = TypeVar("Found")

AT_ONCE = 500
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
            for key, answer in self._rows(query, (model, scores, *batch)):
                row = unpacked(model, scores, key, answer, checked=self._checked)
                if row is None:
                    damaged.append(key)
                else:
                    found[key] = row
        self.forget(model, scores, damaged)
        return found

    def put(self, model: str, scores: str, keys: Sequence[bytes], rows: Tensor) -> None:
        """Remember rows of scores `(N, S)`, as float64. An answer that is there already stays."""
        values = [
            (model, scores, key, packed(model, scores, key, row))
            for key, row in zip(keys, rows.cpu().numpy(), strict=True)
        ]
        self._write(INSERT, values)

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
                self._make_anew(error)
            return act(self._connection)

    def _connect(self) -> None:
        go_on(self.path)
        for part in parts(self.path):
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
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute("PRAGMA secure_delete = ON")  # so that no salvage finds what was forgotten
        self._checked = make_table(self._connection)
        self._opened = self.path.stat()

    def _make_anew(self, error: Exception) -> None:
        """Close the connection, make a damaged file anew, and open that. What is no cache is refused."""
        if str(error).startswith(_IN_USE):
            raise InvalidValue(
                f"{self.path} was in use by another program for {LONGEST_WAIT:g} s ({error}); end that program, or "
                "name another file with --cache"
            ) from None
        if str(error).startswith(_UNWRITABLE) and not has_a_damaged_version(self.path):
            raise InvalidValue(_unwritable(self.path, error)) from None
        self.close()
        if self._opened is None and not is_cache(self.path):
            raise InvalidValue(
                f"{self.path} is no query cache ({error}); name another file with --cache, or move this one away"
            ) from None
        try:
            renew(self.path, self._opened, error)
        except sqlite3.OperationalError as full:
            raise InvalidValue(_unwritable(self.path, full)) from None
        self._connect()
        self._open()


def _unwritable(path: Path, error: Exception) -> str:
    return (
        f"the cache {path} cannot be written ({error}); free space on its disk, allow writing to its folder, or name "
        "another file with --cache"
    )


def image_key(image: Tensor) -> bytes:
    """A digest of an image's exact bytes, shape and dtype."""
    array = image.cpu().contiguous().numpy()
    digest = hashlib.blake2b(f"{array.dtype.str} {array.shape} ".encode(), digest_size=20)
    digest.update(array.tobytes())
    return digest.digest()
