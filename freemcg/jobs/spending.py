"""The queries that a start spends, and their price. They are shown while it runs, and said however it ends.

An image counts as `sent` each time that it leaves. `retried` counts the times after the first, `answered` the images
that got an answer. The others are `unanswered`: their last try failed, or the start ended first. So `sent = answered +
retried + unanswered`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from accelerate.utils import gather_object

from freemcg.blackbox import BlackBox
from freemcg.messages.terminal import say

SHOWN_EVERY = 0.5


class Spending:
    """The queries of a black box from here on.

    Args:
        price_per_1000: price of a thousand queries, in any currency; shown beside them.
    """

    def __init__(self, black_box: BlackBox, price_per_1000: float | None = None) -> None:
        self.black_box = black_box
        self.price_per_1000 = price_per_1000
        self._before = black_box.spent

    @property
    def counts(self) -> dict[str, int]:
        """The counts of this process, as `BlackBox.spent` names them."""
        return {name: count - self._before[name] for name, count in self.black_box.spent.items()}

    @contextmanager
    def shown(self, bar: Any) -> Iterator[None]:
        """Within the block, the bar shows the queries and their price, at most every `SHOWN_EVERY` seconds."""
        last = -math.inf

        def show() -> None:
            nonlocal last
            now, queries = time.monotonic(), self.counts["sent"]
            text = f"queries={queries}" + price_text(queries, self.price_per_1000)
            bar.set_postfix_str(text, refresh=now - last > SHOWN_EVERY)
            last = now if now - last > SHOWN_EVERY else last

        before, self.black_box.on_answer = self.black_box.on_answer, show
        try:
            yield
        finally:
            self.black_box.on_answer = before

    def total(self) -> dict[str, int]:
        """The counts of all processes, or of this one if another has ended. Each process has to call this."""
        try:
            each = gather_object([self.counts])
        except RuntimeError:  # what torch.distributed raises if a process has ended
            return self.counts
        return {name: sum(counts[name] for counts in each) for name in self._before}

    def say(self, counts: dict[str, int], more: str = "", *, of: str = "this start", err: bool = False) -> None:
        """Say what was spent, in one line. `of` is what spent it."""
        said = ", ".join(f"{count} {name}" for name, count in counts.items())
        say(f"queries of {of}: {said}{price_text(counts['sent'], self.price_per_1000)}{more}", err=err)

    @contextmanager
    def said_if_broken_off(self, *, of: str = "this start", aloud: bool = True, goes_on: bool = True) -> Iterator[None]:
        """If the block ends with an error, say what was spent and what is kept, and raise the error.

        Args:
            of: what spends it.
            aloud: whether this process speaks. An error has to reach all processes, but an interrupt does not.
            goes_on: whether another start would keep the results and do only what is missing.
        """
        try:
            yield
        except BaseException as error:
            counts = self.counts if isinstance(error, KeyboardInterrupt) else self.total()
            if aloud and any(counts.values()):
                lost = isinstance(error, KeyboardInterrupt) and counts["unanswered"] > 0
                under_way = "; the unanswered were under way" if lost else ""
                kept = "finished results are kept" if self.black_box.cache is None else "every answer is kept"
                more = f"; {kept}, and the next start goes on from there" if goes_on else ""
                self.say(counts, under_way + more, of=of, err=True)
            raise


def price_text(queries: int, price_per_1000: float | None) -> str:
    """The price of queries, as it follows their number in a line; nothing if no price is known."""
    return "" if price_per_1000 is None else f", price {queries * price_per_1000 / 1000:.2f}"
