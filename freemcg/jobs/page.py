"""The page of a folder of results. Results are found by what they hold, and read one at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from safetensors import SafetensorError, safe_open

from freemcg.jobs.items import CONTRIBUTION, RECORD
from freemcg.messages.errors import InvalidValue, sentence_of
from freemcg.messages.terminal import say
from freemcg.results import Attribution, Counterfactual, load_result
from freemcg.show.page.explained import Explained
from freemcg.show.page.gallery import BESIDE, Source, write_gallery

KINDS = {Attribution.__name__: "attribution", Counterfactual.__name__: "counterfactual"}
DAMAGED = "damaged"


def write_page(folder: Path) -> Path:
    """Write `report.html` for all results in `folder` and its subfolders; see `write_gallery`.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: no result is in it, or none can be drawn.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    sources = list(list_sources(folder))
    if not sources:
        raise InvalidValue(f"{folder} holds no result; give one that demo, attribute, counterfactual or compare wrote")
    page = write_gallery(sources, folder)
    if page is None:
        raise InvalidValue(
            f"no result in {folder} can be drawn, as said above; start the command that made them again, which makes "
            "damaged ones anew"
        )
    return page


def try_to_write_page(folder: Path) -> None:
    """Write the page at the end of a job. If that fails, one line says so, and the job is done."""
    try:
        say(f"the page for a browser is {write_page(folder)}")
    except Exception as error:
        again = f"freemcg report {folder}"
        say(
            f"the page could not be written ({sentence_of(error)}); the results are kept, and {again} tries again",
            err=True,
        )


def list_sources(folder: Path) -> Iterator[Source]:
    """The images of a folder with their results, in the order of their names.

    Results in one folder belong to one image, if they are of different kinds. A second one of a kind is an image of its
    own, by the name of its file. So is a file that cannot be read, and reading it raises the reason.
    """
    anchors: set[str] = set()
    for place in sorted({path.parent for path in folder.rglob("*.safetensors") if BESIDE not in path.parts}):
        groups: list[dict[str, Path]] = []
        for path in sorted(place.glob("*.safetensors")):
            kind = None if path.name == CONTRIBUTION else _kind(path)
            if kind is None:
                continue
            group = next((each for each in groups if kind not in each and DAMAGED not in {kind, *each}), None)
            if group is None:
                groups.append(group := {})
            group[kind] = path
        for number, group in enumerate(groups):
            name = _name(folder, place, next(iter(group.values())), alone=number == 0)
            anchor = _anchor(name, anchors)
            anchors.add(anchor)
            yield Source(name, _stamp(group, place), partial(_read, group, anchor, name))


def _kind(path: Path) -> str | None:
    """The kind of a result by its header, or `DAMAGED`; `None` if another program wrote the file."""
    try:
        with safe_open(path, framework="pt") as stored:
            return KINDS.get((stored.metadata() or {}).get("kind", ""))
    except (SafetensorError, OSError, UnicodeDecodeError):
        return DAMAGED


def _name(folder: Path, place: Path, path: Path, *, alone: bool) -> str:
    """The name of the image: as a job noted it, else that of the folder, else that of the file.

    If several jobs wrote below `folder`, the folder of the job stands before it.
    """
    try:
        noted = json.loads((place / RECORD).read_text())["image"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        noted = None
    found = str(place.relative_to(folder))
    if isinstance(noted, str) and alone:
        job = Path(found).parents[len(Path(noted).parts) - 1 :][:1]
        return "/".join([*(str(each) for each in job if each != Path()), noted])
    if found == ".":
        return path.stem
    return found if alone else f"{found}/{path.stem}"


def _anchor(name: str, taken: set[str]) -> str:
    """A name for links: letters, digits and dashes, at most 60, and not taken."""
    plain = re.sub(r"[^A-Za-z0-9_.]+", "-", Path(name).with_suffix("").as_posix())[:60].strip("-") or "picture"
    anchor, number = plain, 2
    while anchor in taken:
        anchor, number = f"{plain}-{number}", number + 1
    return anchor


def _stamp(group: dict[str, Path], place: Path) -> str:
    files = [*group.values(), *(path for path in [place / CONTRIBUTION] if path.is_file())]
    told = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return json.dumps(told)


def _read(group: dict[str, Path], anchor: str, name: str) -> Explained:
    results = {kind: load_result(path) for kind, path in group.items()}
    attribution, contribution = results.get("attribution"), None
    beside = next(iter(group.values())).parent / CONTRIBUTION
    if isinstance(attribution, Attribution) and beside.is_file():
        try:
            contribution = Attribution.load(beside)
        except InvalidValue as error:
            say(f"{name}: the page shows no contribution ({sentence_of(error)})", err=True)
    return Explained(anchor, name, attribution, results.get("counterfactual"), contribution)
