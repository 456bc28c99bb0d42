"""Count the images that are sent to a classifier, and bound their number."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from freemcg.blackbox.asking import QueryBudgetExceeded
from freemcg.messages.arguments import whole


class Counted:
    """Counts images, and bounds the number that may be sent.

    Args:
        budget: the most images that may ever be sent; `None` sets no bound.

    Attributes:
        queries: images sent so far, retries included.
        answered: images that were sent and answered.
        retried: images that were sent again after a failure.
        cached: images that were not sent, since their answer was known.

    Raises:
        TypeError: the budget is no whole number.
        ValueError: it is below 0.
    """

    def __init__(self, budget: int | None) -> None:
        self.budget = None if budget is None else whole("budget", budget, 0)
        self.queries = self.answered = self.retried = self.cached = 0
        self._lock = threading.Lock()

    @property
    def spent(self) -> dict[str, int]:
        """Counts of images so far: the sent ones (queries) are answered, retried or unanswered; others are cached."""
        counts = {"sent": self.queries, "answered": self.answered, "retried": self.retried}
        return counts | {"unanswered": self.queries - self.answered - self.retried, "from the cache": self.cached}

    @property
    def known(self) -> int:
        """The number of answers so far. A result records it as its queries.

        It includes answers from the cache, and no retries. So a result made in two starts counts as many as a result
        made in one.
        """
        return self.answered + self.cached

    @property
    def remaining(self) -> int | None:
        """Queries left in the budget; `None` without a budget."""
        return None if self.budget is None else self.budget - self.queries

    @contextmanager
    def reserving(self, queries: int) -> Iterator[None]:
        """Within the block, the budget ends `queries` earlier. So these are left for later."""
        budget = self.budget
        if budget is not None:
            self.budget = max(self.queries, budget - queries)
        try:
            yield
        finally:
            self.budget = budget

    def charge(self, images: int, retry: bool) -> None:
        """Count images that are about to be sent. A negative number gives back images that were not sent after all."""
        with self._lock:
            if self.budget is not None and self.queries + images > self.budget:
                raise QueryBudgetExceeded(images, self.budget - self.queries, self.budget)
            self.queries += images
            self.retried += images if retry else 0
