"""A memory of answers in one sqlite file, so that what was paid for once is not paid for again."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from freemcg.refusal import InvalidValue

APPLICATION_ID = 0x464D4347  # "FMCG", in the header of the file
LONGEST_WAIT = 60.0
AT_ONCE = 500


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

    Args:
        path: the file; made, with its folder, where it is not there.

    Raises:
        ValueError: the file is something else.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(
            self.path, timeout=LONGEST_WAIT, isolation_level=None, check_same_thread=False
        )
        self.close = weakref.finalize(self, self._connection.close)
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            self.close()
            raise InvalidValue(f"{path} is no query cache ({error})") from None

    def __repr__(self) -> str:
        return f"QueryCache({str(self.path)!r})"

    def get(self, model: str, scores: str, keys: Sequence[bytes]) -> dict[bytes, Tensor]:
        """The rows that are known, by their keys, float64."""
        found: dict[bytes, Tensor] = {}
        for start in range(0, len(keys), AT_ONCE):
            some = keys[start : start + AT_ONCE]
            marks = ", ".join("?" * len(some))
            query = f"SELECT image, answer FROM answers WHERE model = ? AND scores = ? AND image IN ({marks})"
            with self._lock:
                rows = self._connection.execute(query, (model, scores, *some)).fetchall()
            found |= {key: torch.from_numpy(np.frombuffer(row, dtype="<f8").copy()) for key, row in rows}
        return found

    def put(self, model: str, scores: str, keys: Sequence[bytes], rows: Tensor) -> None:
        """Remember rows of scores `(N, S)`, as float64; an answer that is there already stays."""
        packed = [row.tobytes() for row in rows.cpu().numpy().astype("<f8")]
        values = [(model, scores, key, row) for key, row in zip(keys, packed, strict=True)]
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?)", values)
            self._connection.execute("COMMIT")

    def models(self) -> list[CachedModel]:
        """What the cache holds, a line a model and kind of scores."""
        query = "SELECT model, scores, COUNT(*) FROM answers GROUP BY model, scores ORDER BY model, scores"
        with self._lock:
            return [CachedModel(*row) for row in self._connection.execute(query)]

    def clear(self, model: str | None = None) -> int:
        """Forget the answers of a model, or all; returns how many there were."""
        with self._lock:
            if model is None:
                return self._connection.execute("DELETE FROM answers").rowcount
            return self._connection.execute("DELETE FROM answers WHERE model = ?", (model,)).rowcount

    def _open(self) -> None:
        (found,) = self._connection.execute("PRAGMA application_id").fetchone()
        (tables,) = self._connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        if found != APPLICATION_ID and tables > 0:
            raise sqlite3.DatabaseError("another program's database")
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS answers (model TEXT, scores TEXT, image BLOB, answer BLOB, "
            "PRIMARY KEY (model, scores, image)) WITHOUT ROWID"
        )


def image_key(image: Tensor) -> bytes:
    """A digest of an image's exact bytes, shape and dtype."""
    array = image.cpu().contiguous().numpy()
    digest = hashlib.blake2b(f"{array.dtype.str} {array.shape} ".encode(), digest_size=20)
    digest.update(array.tobytes())
    return digest.digest()
