"""The pictures of a folder."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path

SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".heic", ".heif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".jxl", ".pgm"),
    *(".png", ".ppm", ".tif", ".tiff", ".webp"),
)
"""The pictures of a folder. Those that this Pillow cannot read count too: whoever reads them says so."""


def list_images(folder: Path) -> list[Path]:
    """Every picture below `folder`, sorted by path. Pictures and folders hidden by a dot are left out.

    Links to folders are followed. A folder that can be reached in several ways is listed once, and a link to one that
    holds `folder` itself is left out. A folder below it that cannot be read counts as a picture, and so does a link to
    a picture or folder that is not there: whoever reads them says so.

    Raises:
        FileNotFoundError: there is no such folder, or no picture in it.
        OSError: the folder cannot be read.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    paths = sorted(_pictures(folder))
    if not paths:
        raise FileNotFoundError(f"{folder} holds no picture ({', '.join(SUFFIXES)})")
    return paths


def _pictures(folder: Path) -> Iterator[Path]:
    """What is listed, in any order. Plain folders come before those that only a link leads to."""
    plain, linked, seen = deque([folder]), deque[Path](), set[Path]()
    above = folder.resolve().parents
    while plain or linked:
        place = plain.popleft() if plain else linked.popleft()
        real = place.resolve()
        if real in seen or real in above:
            continue
        seen.add(real)
        try:
            entries = [path for path in sorted(place.iterdir()) if not _is_hidden(path)]
            folders = [path for path in entries if path.is_dir()]
        except OSError:
            if place == folder:
                raise
            yield place
            continue
        for path in folders:
            (linked if path.is_symlink() else plain).append(path)
        yield from (path for path in entries if _counts(path))


def _counts(path: Path) -> bool:
    suffix = path.suffix.lower()
    if path.is_symlink() and not path.exists():
        return suffix in (*SUFFIXES, "")
    return suffix in SUFFIXES and path.is_file()


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".") and not path.name.startswith("..")
