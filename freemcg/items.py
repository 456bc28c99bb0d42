"""The pictures of a job, and the folders their results go to."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from freemcg.images import list_images
from freemcg.refusal import InvalidValue

RESULT, RECEIPT, RECORD = "result.safetensors", "receipt.safetensors", "record.json"


@dataclass(frozen=True)
class Item:
    """An image to explain, and the folder that its result goes to. `name` is its path below the folder of images."""

    name: str
    image: Path
    folder: Path

    @property
    def explained(self) -> bool:
        """Whether a result is there, whole, and for this very picture."""
        return (self.folder / RESULT).is_file() and self._record().get("picture") == self.picture

    @property
    def done(self) -> bool:
        """Whether there is nothing to do: it is explained, and that did not end with the budget of a job."""
        return self.explained and not self._record()["unfinished"]

    @cached_property
    def picture(self) -> str:
        """A digest of the picture's file, which is read once."""
        return hashlib.sha256(self.image.read_bytes()).hexdigest()[:16]

    def _record(self) -> dict[str, Any]:
        path = self.folder / RECORD
        record: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
        return record


def list_items(images: Path, out: Path) -> list[Item]:
    """The images of a job in order, each with a folder of its own: two that differ only in suffix keep theirs.

    Raises:
        FileNotFoundError: there is no such picture or folder, or the folder holds no picture.
        ValueError: `out` is the folder of the images.
        NotADirectoryError: `out` is a file.
    """
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"{out} is a file; results need a folder")
    if images.is_dir():
        if images.resolve() == out.resolve():
            raise InvalidValue(f"{out} is the folder of the images; give results another one")
        root, paths = images, [path for path in list_images(images) if out.resolve() not in path.resolve().parents]
        if not paths:
            raise FileNotFoundError(f"{images} holds no picture but those in {out}")
    elif images.is_file():
        root, paths = images.parent, [images]
    else:
        raise FileNotFoundError(f"there is no picture or folder {images}")
    full: set[Path] = set()
    while True:
        folders = {path: path if path in full else path.with_suffix("") for path in paths}
        count = Counter(folders.values())
        clashing = {path for path, folder in folders.items() if count[folder] > 1}
        if not clashing:
            break
        full |= clashing
    return [Item(str(path.relative_to(root)), path, out / folders[path].relative_to(root)) for path in paths]
