"""What a run has spent so far, and its price, shown while it runs and said at its end."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from freemcg.blackbox import BlackBox
from freemcg.messages.terminal import say

SHOWN_EVERY = 0.5


@contextmanager
def spend_shown(black_box: BlackBox, bar: Any, price_per_1000: float | None) -> Iterator[None]:
    """Within the block, the bar shows the queries and their price, at most every `SHOWN_EVERY` seconds."""
    shown = -math.inf

    def show() -> None:
        nonlocal shown
        now, queries = time.monotonic(), black_box.queries
        bar.set_postfix_str(
            f"queries={queries}" + price_text(queries, price_per_1000), refresh=now - shown > SHOWN_EVERY
        )
        shown = now if now - shown > SHOWN_EVERY else shown

    before, black_box.on_answer = black_box.on_answer, show
    try:
        yield
    finally:
        black_box.on_answer = before


def say_spent(spent: dict[str, int], price_per_1000: float | None) -> None:
    """What this start cost, where that is not simply a query an answer, or has a price."""
    if spent["sent"] != spent["answered"] or spent["from the cache"] or price_per_1000 is not None:
        said = ", ".join(f"{count} {name}" for name, count in spent.items())
        say(f"queries of this start: {said}{price_text(spent['sent'], price_per_1000)}")


def price_text(queries: int, price_per_1000: float | None) -> str:
    """What follows a number of queries: their price, or nothing where there is none."""
    return "" if price_per_1000 is None else f", price {queries * price_per_1000 / 1000:.2f}"
