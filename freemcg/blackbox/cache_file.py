"""The file of a cache: its marks, its one table, and a checksum in every row."""

from __future__ import annotations

import sqlite3
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

OWN_FILE = "answers.sqlite"  # the name of a job's own cache
APPLICATION_ID = 0x464D4347  # "FMCG", in the header of the file
VERSION = 1  # files of this version have a checksum in every row
CHECKSUM = 4  # bytes, after the numbers of a row
UNREADABLE = (sqlite3.DatabaseError, UnicodeDecodeError)  # sqlite repeats damaged text in some errors
INSERT = "INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?)"
_COLUMNS = ["model", "scores", "image", "answer"]


def make_table(file: sqlite3.Connection) -> bool:
    """Make the table of a new file, or check a file whole.

    Returns:
        Whether every row has a checksum.

    Raises:
        sqlite3.DatabaseError: the file is damaged, of another version, or another program's.
    """
    (found,) = file.execute("PRAGMA application_id").fetchone()
    (tables,) = file.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    if found != APPLICATION_ID and tables > 0:
        raise sqlite3.DatabaseError("another program's database")
    (fault,) = file.execute("PRAGMA integrity_check(1)").fetchone()
    if fault != "ok":  # a damaged key hides its neighbours from a search, and they would be paid for again
        raise sqlite3.DatabaseError(fault)
    if found != APPLICATION_ID:
        file.execute(f"PRAGMA user_version = {VERSION}")
        file.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    file.execute(
        "CREATE TABLE IF NOT EXISTS answers (model TEXT, scores TEXT, image BLOB, answer BLOB, "
        "PRIMARY KEY (model, scores, image)) WITHOUT ROWID"
    )
    if [row[1] for row in file.execute("PRAGMA table_info(answers)")] != _COLUMNS:
        raise sqlite3.DatabaseError("its tables are of another version")
    return bool(file.execute("PRAGMA user_version").fetchone() != (0,))


def parts(path: Path) -> list[Path]:
    """The file, and the files that sqlite keeps beside it."""
    return [path.with_name(path.name + end) for end in ("", "-wal", "-shm")]


def is_cache(path: Path) -> bool:
    """Whether a file has the name of a job's own cache, or its readable beginning bears a mark of a cache."""
    with path.open("rb") as stream:
        start = stream.read(2**16)
    return path.name == OWN_FILE or start[68:72] == APPLICATION_ID.to_bytes(4, "big") or b"TABLE answers (" in start


def has_a_damaged_version(path: Path) -> bool:
    """Whether sqlite takes a file as one of a later format, which it only reads. Bytes 18 and 19 tell the format."""
    with path.open("rb") as stream:
        start = stream.read(20)
    return len(start) == 20 and not {*start[18:]} <= {1, 2}


def packed(model: str, scores: str, key: bytes, row: np.ndarray) -> bytes:
    """The numbers of an answer with their checksum, as a row holds them."""
    numbers = row.astype("<f8").tobytes()
    return numbers + _checksum(model, scores, key, numbers)


def unpacked(model: Any, scores: Any, key: Any, answer: Any, *, checked: bool = True) -> Tensor | None:
    """The numbers of a row; `None` if it is damaged. A row of an older file may have no checksum."""
    if [type(each) for each in (model, scores, key, answer)] != [str, str, bytes, bytes]:
        return None
    row, checksum = (answer[:-CHECKSUM], answer[-CHECKSUM:]) if checked or len(answer) % 8 else (answer, None)
    if not row or len(row) % 8 or (checksum is not None and checksum != _checksum(model, scores, key, row)):
        return None
    return torch.from_numpy(np.frombuffer(row, dtype="<f8").copy())


def _checksum(model: str, scores: str, key: bytes, row: bytes) -> bytes:
    return zlib.crc32(b"\0".join((model.encode(), scores.encode(), key, row))).to_bytes(CHECKSUM, "big")
