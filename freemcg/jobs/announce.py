"""A job looks at its pictures before the first query, and says what it found and what it will do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from freemcg.explainer import FreeMCG
from freemcg.files.images import decode
from freemcg.jobs.items import Item
from freemcg.jobs.plan import FEW_DIRECTIONS, Task, most_by_directions
from freemcg.jobs.spending import price_text
from freemcg.jobs.unreadable import read_each, say_unreadable
from freemcg.messages.terminal import say


@dataclass(frozen=True)
class Look:
    """The counts of resized and of cleared pictures, and the reason for each picture that cannot be read."""

    resized: int = 0
    cleared: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)


def look_at(explainer: FreeMCG, items: Sequence[Item], *, alone: bool) -> Look:
    """Decode each picture whole, and count. A picture that cannot be read is noted, or refused if it is `alone`."""

    def look(picture: Path) -> tuple[bool, bool]:
        decoded, clear = decode(picture)
        return explainer.denoiser.image_size not in (None, (decoded.height, decoded.width)), clear

    found, unreadable = read_each(items, look, alone=alone)
    return Look(sum(resized for resized, _ in found.values()), sum(clear for _, clear in found.values()), unreadable)


def announce(
    explainer: FreeMCG,
    task: Task,
    items: Sequence[Item],
    pending: Sequence[Item],
    looks: Sequence[Look],
    price_per_1000: float | None,
) -> None:
    """Say what there is to do, the most that it will cost, and which pictures are changed, left out or made again."""
    unreadable = [why for look in looks for why in look.unreadable.values()]
    black_box = explainer.black_box
    each, if_few = most_by_directions(explainer.settings, task, black_box)
    say(
        f"images: {len(items)}; done before: {len(items) - len(unreadable) - len(pending)}; "
        f"to do: {len(pending)}, at most {each} queries each"
        + (f" ({if_few} if they {FEW_DIRECTIONS})" if if_few < each else "")
        + price_text(len(pending) * each, price_per_1000),
        err=True,
    )
    if pending and if_few < each and black_box.remaining is not None and black_box.remaining < each:
        say(
            f"the budget of {black_box.remaining} is less than one picture may cost; with --queries "
            f"{black_box.remaining} the search of a picture would be planned for it",
            err=True,
        )
    say_unreadable(unreadable)
    if cleared := sum(look.cleared for look in looks):
        say(f"transparent in part, laid on white: {cleared} of them", err=True)
    if resized := sum(look.resized for look in looks):
        height, width = explainer.denoiser.image_size or (0, 0)
        say(f"resized to the denoiser's {height}x{width}: {resized} of them", err=True)
    if damaged := sum(item.damaged for item in pending):
        say(f"made again, since they are cut short or damaged: {damaged} of them", err=True)
