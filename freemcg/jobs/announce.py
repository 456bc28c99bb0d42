"""A job says before the first query what it found in its pictures, and what it will do."""

from __future__ import annotations

from collections.abc import Sequence

from freemcg.explainer import FreeMCG
from freemcg.jobs.items import Item
from freemcg.jobs.pictures import Look
from freemcg.jobs.plan import FEW_DIRECTIONS, Task, most_by_directions
from freemcg.jobs.spending import price_text
from freemcg.jobs.unreadable import say_unreadable
from freemcg.messages.terminal import say


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
    say_cut([share for look in looks for share in look.cut])
    if damaged := sum(item.damaged for item in pending):
        say(f"made again, since they are cut short or damaged: {damaged} of them", err=True)


def say_cut(shares: Sequence[float]) -> None:
    """Say how many pictures lose their edges, by the share that each loses. There may be none."""
    if shares:
        say(
            f"cut off at two edges, since their shape is not the denoiser's: {len(shares)} of them, by up to "
            f"{100 * max(shares):.2g} % of a picture",
            err=True,
        )
