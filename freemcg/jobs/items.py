"""The items of a job: a picture each, with the folder for its result.

A comparison makes several maps of a picture. Each of these is a cell: see `freemcg.comparison.cells`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from freemcg.blackbox.receipt import Receipt
from freemcg.files.digest import digest_of
from freemcg.files.whole import naming, set_aside
from freemcg.jobs.listing import Listing
from freemcg.results import load_with_digests

RESULT, RECEIPT, RECORD = "result.safetensors", "receipt.safetensors", "record.json"
FIGURE, CHANGED = "figure.png", "counterfactual.png"
CONTRIBUTION, CONTRIBUTION_FIGURE = "contribution.safetensors", "contribution.png"
DEMO_MAP, DEMO_CHANGE = "attribution.safetensors", "counterfactual.safetensors"
"""The two results of a picture of a demo, which lie in one folder."""
RECEIPTS = {
    RESULT: RECEIPT,
    DEMO_MAP: "attribution-receipt.safetensors",
    DEMO_CHANGE: "counterfactual-receipt.safetensors",
}
"""The receipt of each result, which lies beside it."""
NOTED = {"image", "status", "picture", "unfinished"}
OWN_NAMES = {
    *(RESULT, RECEIPT, RECORD, FIGURE, CHANGED, CONTRIBUTION, CONTRIBUTION_FIGURE, "settings.json", "summary.csv"),
    *(
        "grid.png",
        "comparison.csv",
        "report.html",
        "report_files",
        "answers.sqlite",
        "answers.sqlite-wal",
        "answers.sqlite-shm",
    ),
}


@dataclass(frozen=True)
class Item:
    """An image to explain, and the folder for its result.

    Attributes:
        name: the path of the image below the folder of images.
        image: the file of the image.
        folder: the folder for its result.
        made_with: a digest of the settings that count, see `freemcg.jobs.made_with`. `None` accepts any settings.
    """

    name: str
    image: Path
    folder: Path
    made_with: str | None = None

    @property
    def explained(self) -> bool:
        """Whether an undamaged result and receipt are there, for this very picture and made with these settings."""
        return self._whole and self._record()["picture"] == self.picture and not self.of_others

    @property
    def of_others(self) -> bool:
        """Whether there is a result that was made with other settings."""
        return self._whole and self.made_with not in (None, self._record().get("made with", self.made_with))

    @property
    def done(self) -> bool:
        """Whether nothing is left to do: the image is explained, and no job's budget cut its explanation short."""
        return self.explained and self._record()["unfinished"] is False

    @property
    def damaged(self) -> bool:
        """Whether there is a result, but it, its receipt or its record was damaged."""
        return (self.folder / RESULT).exists() and not self._whole

    def make_folder(self) -> None:
        """Make the folder. A file in its place, or in that of a folder above it within the results, is set aside."""
        within = [self.folder, *self.folder.parents][: len(Path(self.name).parts)]
        with naming(self.folder):
            for folder in reversed(within):
                if folder.is_file():
                    set_aside(folder, "is a file where a folder belongs")
            self.folder.mkdir(parents=True, exist_ok=True)

    @cached_property
    def picture(self) -> str:
        """A digest of the picture's file, which is read once. It is empty if the file cannot be read."""
        try:
            return digest_of(self.image)
        except OSError:
            return ""

    @property
    def _whole(self) -> bool:
        """Whether result, receipt and record are there and undamaged.

        Once they were found so, they are not read again.
        """
        if not self.__dict__.get("_found_whole"):
            self.__dict__["_found_whole"] = self._is_whole()
        return bool(self.__dict__["_found_whole"])

    def _is_whole(self) -> bool:
        try:
            Receipt.load(self.folder / RECEIPT)
            digests = load_with_digests(self.folder / RESULT)[1]
            same = all(digest_of(self.folder / name) == digest for name, digest in digests.items())
            return same and self._record().keys() >= NOTED
        except (OSError, ValueError):
            return False

    def _record(self) -> dict[str, Any]:
        """The record beside the result."""
        record = json.loads((self.folder / RECORD).read_text())
        return record if isinstance(record, dict) else {}


def _folder_of(path: Path, own: Set[str]) -> Path:
    """The folder for a picture's results: its path without the suffix, or with it if that name is taken."""
    return path if _is_taken(path.stem, own) else path.with_suffix("")


def _is_taken(name: str, own: Set[str]) -> bool:
    return name in own or name.endswith(".partial") or name.strip(".") == ""


def _below(out: Path, folder: Path, own: Set[str]) -> Path:
    """The folder within `out`, with an underscore after each part that is a name of the job's own files."""
    return out.joinpath(*(f"{part}_" if _is_taken(part, own) else part for part in folder.parts))


def _names_within(out: Path, file: Path | None) -> set[str]:
    """The names of a cache's file and its neighbours, if it lies within `out`."""
    if file is None or out.resolve() not in file.resolve().parents:
        return set()
    return {file.resolve().name + ending for ending in ("", "-wal", "-shm")}


def _first_part(out: Path, images: Path) -> set[str]:
    """The name in `out` of what holds the images; empty if they lie elsewhere. No result may lie among them."""
    if out.resolve() not in images.resolve().parents:
        return set()
    return {images.resolve().relative_to(out.resolve()).parts[0]}


def items_of(listing: Listing, out: Path, made_with: str | None = None, *, cache: Path | None = None) -> list[Item]:
    """The pictures of a job in order, each with its own folder. If two differ only in suffix, their folders keep it.

    No folder has the name of a file of the job's own, such as its `cache` if that lies in `out`.
    """
    own = OWN_NAMES | _names_within(out, cache) | _first_part(out, listing.named)
    names, full = [Path(name) for name in listing.files], set[Path]()
    while True:
        folders = {name: name if name in full else _folder_of(name, own) for name in names}
        count = Counter(folders.values())
        clashing = {name for name, folder in folders.items() if count[folder] > 1}
        if not clashing:
            break
        full |= clashing
    return [Item(name, path, _below(out, folders[Path(name)], own), made_with) for name, path in listing.files.items()]
