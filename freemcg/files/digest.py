"""A digest of a file."""

from __future__ import annotations

import hashlib
from pathlib import Path

PIECE = 2**24


def digest_of(path: Path) -> str:
    """A digest of a file's bytes, which are read piece by piece: 16 hexadecimal digits of its SHA-256."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()[:16]
