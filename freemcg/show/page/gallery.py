"""The page of a folder of explanations: the finding in one sentence, the gallery, and the first explanation.

Explanations that fit into one file are all in it. The rest lie in the folder `report_files` beside it, one file each.
The page reads them when they are looked at. They are scripts, since a page that was opened from a file reads no others.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

from markupsafe import Markup
from tqdm import tqdm

from freemcg.files.whole import write_text
from freemcg.messages.errors import sentence_of
from freemcg.messages.terminal import say
from freemcg.show.page.explained import Explained
from freemcg.show.page.explanation import Card, drawn
from freemcg.show.page.templates import HERE, RESULTS, page
from freemcg.show.page.words import counted, percent
from freemcg.version import __version__

PAGE, BESIDE = "report.html", "report_files"
INSIDE = 1_300_000
"""The most characters of explanations that the page itself holds; the first one may be larger."""
THUMBNAILS_INSIDE = 250_000
THUMBNAILS_A_FILE = 100
LIMIT = 0.85
CALL, END = "freemcg.shown(", ");\n"


@dataclass(frozen=True)
class Source:
    """An image whose explanation is read when it is drawn.

    Attributes:
        name: the name of the image's file.
        stamp: changes if its files do.
        read: reads the results.
    """

    name: str
    stamp: str
    read: Callable[[], Explained]


@dataclass
class _Drawn:
    """What was drawn so far, and how much of it is inside the page."""

    cards: list[Card]
    inside: list[tuple[str, str]]
    files: dict[str, str]
    held: int = 0


def write_gallery(sources: Sequence[Source], out: Path) -> Path | None:
    """Write `report.html` into `out`, and the folder `report_files` if one file is not enough.

    Each file is written whole or not at all, and results are read one at a time. A file that was written for the same
    results is kept, so a page that was not finished goes on. An image that cannot be drawn is left out, and one line
    says so.

    Returns:
        The page; `None` if nothing could be drawn.
    """
    found = _Drawn([], [], {})
    for source in tqdm(sources, desc="page", unit="image", disable=None):
        try:
            _draw(source, out, found)
        except Exception as error:  # whatever a picture holds, the others are drawn
            with tqdm.external_write_mode():
                say(f"{source.name}: the page leaves it out ({sentence_of(error)}); its results are kept", err=True)
    if not found.cards:
        return None
    thumbnails = _write_thumbnails(found, out)
    _remove_others(out / BESIDE, {*found.files.values(), *thumbnails.values()})
    write_text(out / PAGE, _page(found, thumbnails))
    return out / PAGE


def _draw(source: Source, out: Path, found: _Drawn) -> None:
    name = f"{BESIDE}/{hashlib.sha256(source.name.encode()).hexdigest()[:16]}.js"
    stamp = f"{source.stamp} {_digest_of_page()}"
    written = _written(out / name, stamp)
    card, html = drawn(source.read()) if written is None else written
    if not found.inside or found.held + len(html) <= INSIDE:
        found.held += len(html)
        found.inside.append((card.anchor, html))
    else:
        (out / BESIDE).mkdir(exist_ok=True)
        part = {"stamp": stamp, "card": asdict(card), "html": html}
        if written is None:
            write_text(out / name, CALL + json.dumps(part) + END)
        found.files[card.anchor] = name
    found.cards.append(card)


def _written(path: Path, stamp: str) -> tuple[Card, str] | None:
    """The card and the sections in a file that was written with this stamp."""
    try:
        part = json.loads(path.read_text("utf-8").removeprefix(CALL).removesuffix(END))
        return (Card(**part["card"]), part["html"]) if part["stamp"] == stamp else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_thumbnails(found: _Drawn, out: Path) -> dict[int, str]:
    """Move the small pictures that the page cannot hold to files; the file of each, by the number of its card."""
    held, files = 0, {}
    later: list[int] = []
    for index, card in enumerate(found.cards):
        held += sum(len(each) for each in card.thumbnails)
        if held > THUMBNAILS_INSIDE:
            later.append(index)
    for start in range(0, len(later), THUMBNAILS_A_FILE):
        share = later[start : start + THUMBNAILS_A_FILE]
        name = f"{BESIDE}/pictures-{start // THUMBNAILS_A_FILE + 1}.js"
        (out / BESIDE).mkdir(exist_ok=True)
        pictures = {found.cards[index].anchor: found.cards[index].thumbnails for index in share}
        write_text(out / name, f"freemcg.pictures({json.dumps(pictures)});\n")
        for index in share:
            files[index] = name
            found.cards[index] = replace(found.cards[index], thumbnails=[""] * len(found.cards[index].thumbnails))
    return files


def _remove_others(folder: Path, kept: set[str]) -> None:
    for path in folder.glob("*.js"):
        if f"{BESIDE}/{path.name}" not in kept:
            path.unlink()


@cache
def _digest_of_page() -> str:
    digest = hashlib.sha256(__version__.encode())
    for path in sorted(HERE.rglob("*")):
        if path.suffix in (".py", ".html"):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _page(found: _Drawn, thumbnails: dict[int, str]) -> str:
    cards = found.cards
    shown = [{key: value for key, value in asdict(card).items() if key != "thumbnails"} for card in cards]
    return page(
        "results.html",
        RESULTS,
        title=title(cards),
        noun=noun(cards),
        lede=lede(cards),
        beside="file: 'self'" if found.files or thumbnails else "",
        cards=cards,
        decided=_choices([card.decided for card in cards]),
        became=_choices([card.became for card in cards if card.became]),
        changed=any(card.became for card in cards),
        limit=LIMIT,
        first=found.inside[0][1],
        others=found.inside[1:],
        gallery={"cards": shown, "files": found.files, "thumbnails": thumbnails, "limit": LIMIT, "noun": noun(cards)},
    )


def _choices(names: Sequence[str]) -> list[str]:
    """The choices of a filter; none if almost every image has a name of its own, such as a value."""
    choices = sorted(set(names))
    return choices if len(choices) <= max(12, len(names) // 2) else []


def title(cards: Sequence[Card]) -> str:
    """The title of the page."""
    if len(cards) == 1:
        return f"Why {cards[0].name} was decided as it was"
    if noun(cards) == "explanation":
        return f"{counted(len(cards), 'explanation')}, some of the same picture"
    return f"Why {counted(len(cards), 'picture')} were decided as they were"


def noun(cards: Sequence[Card]) -> str:
    """What is counted: a picture, or an explanation if a picture has several."""
    return "picture" if len({card.picture for card in cards}) == len(cards) else "explanation"


def lede(cards: Sequence[Card]) -> str:
    """The finding, in one or two sentences."""
    total = len(cards)
    asked = counted(sum(card.queries for card in cards), "time")
    never = ", never opened" if all(card.asked_only for card in cards) else ""
    told = [Markup("A classifier was asked <b>{}</b>{}.").format(asked, never)]
    changed = [card for card in cards if card.flipped is not None]
    if changed:
        flipped = [card for card in changed if card.flipped]
        share = Markup("For <b>{:,} of {}</b>").format(len(flipped), counted(len(changed), noun(cards)))
        kind = "realistic change" if all(card.realistic for card in flipped) else "change"
        if flipped:
            most = percent(max(card.change or 0 for card in flipped))
            finding = Markup("{} a {} of at most <b>{}</b> of full brightness made it decide otherwise")
            finding = finding.format(share, kind, most)
            judged = [card.agreed for card in flipped if card.agreed is not None]
            if judged:
                times = "each time" if all(judged) else f"{sum(judged):,} of {counted(len(judged), 'time')}"
                finding += Markup(", and an independent judge agreed <b>{}</b>").format(times)
            told.append(finding + ".")
        else:
            told.append(share + " the search ended with a change that makes it decide otherwise.")
    reliable = sorted(card.reliability for card in cards if card.reliability is not None)
    if not changed and reliable:
        maps = "The map's reliability is" if total == 1 else "Half of the maps have a reliability of at least"
        told.append(Markup("{} <b>{:.2f}</b>; 1 is the most.").format(maps, reliable[len(reliable) // 2]))
    problems = sum(card.problem != "" for card in cards)
    if problems:
        verb = "is" if problems == 1 else "are"
        told.append(Markup("{} {} not complete.").format(counted(problems, "explanation"), verb))
    return Markup(" ").join(told)
