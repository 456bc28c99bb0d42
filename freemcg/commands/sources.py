"""The files and folders that options name, which a job must not write over."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from freemcg.jobs.items import OWN_NAMES, Item
from freemcg.messages.errors import InvalidValue


def refuse_in_the_way(out: Path, items: Sequence[Item] = (), **sources: str | None) -> None:
    """Refuse a file or folder of the user's that lies where a job writes.

    Args:
        out: the folder of the results.
        items: the pictures of the job, each with the folder of its results.
        sources: what options name, by the option: a path, perhaps with `:NAME` after it or `hf:` before it. Anything
            else is no file, and in nobody's way.

    Raises:
        ValueError: one lies there. The message names it.
    """
    root = out.resolve()
    folders = {root / item.folder.relative_to(out): item.name for item in items}
    for option, named in sources.items():
        path = _path_of(named or "")
        if path is not None and (what := _written(path.resolve(), root, folders)):
            raise InvalidValue(f"--{option} {path} lies where {what} would be written; move it, or give another --out")


def _path_of(named: str) -> Path | None:
    file, _, _ = named.rpartition(":")
    found = [Path(each) for each in (named, file, named.removeprefix("hf:")) if each and "://" not in each]
    return next((path for path in found if path.exists()), None)


def _written(place: Path, root: Path, folders: dict[Path, str]) -> str:
    """What the job would write at a place; empty if nothing."""
    if root not in (place, *place.parents):
        return ""
    if place == root or place.relative_to(root).parts[0] in OWN_NAMES:
        return "a file of the job"
    for folder, name in folders.items():
        if place in (folder, *folder.parents) or (place.parent == folder and place.name in OWN_NAMES):
            return f"the results of {name}"
    return ""
