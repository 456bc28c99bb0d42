"""The number of images that are sent to a classifier, and its bound."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from freemcg.blackbox.asking import QueryBudgetExceeded
from freemcg.messages.errors import InvalidValue


class Counted:
    """Counts of images, and the bound of those that may be sent.

    Args:
        budget: the most images that may ever be sent; `None` bounds nothing.

    Attributes:
        queries: images sent so far, second tries included.
        answered: those that were answered; `retried`, those that were sent again because of a failure.
        cached: images whose answer was known.

    Raises:
        ValueError: the budget is below 0.
    """

    def __init__(self, budget: int | None) -> None:
        if budget is not None and budget < 0:
            raise InvalidValue(f"budget must be >= 0, got {budget}")
        self.budget = budget
        self.queries = self.answered = self.retried = self.cached = 0
        self._lock = threading.Lock()

    @property
    def spent(self) -> dict[str, int]:
        """Images so far: sent (the queries), of them answered, retried and unanswered; and those from the cache."""
        counts = {"sent": self.queries, "answered": self.answered, "retried": self.retried}
        return counts | {"unanswered": self.queries - self.answered - self.retried, "from the cache": self.cached}

    @property
    def known(self) -> int:
        """Images that have an answer, each time that it was asked for: what a result counts as its queries.

        Answers from the cache are among them and second tries are not, so that a result that was made in two starts
        has as many as one that was made in one.
        """
        return self.answered + self.cached

    @property
    def remaining(self) -> int | None:
        """Queries left in the budget; `None` without one."""
        return None if self.budget is None else self.budget - self.queries

    @contextmanager
    def reserving(self, queries: int) -> Iterator[None]:
        """Within the block, the budget ends `queries` earlier, so that these are there for what follows it."""
        budget = self.budget
        if budget is not None:
            self.budget = max(self.queries, budget - queries)
        try:
            yield
        finally:
            self.budget = budget

    def charge(self, images: int, retry: bool) -> None:
        """Count images that are about to be sent; fewer than none gives back what was not sent after all."""
        with self._lock:
            if self.budget is not None and self.queries + images > self.budget:
                raise QueryBudgetExceeded(images, self.budget - self.queries, self.budget)
            self.queries += images
            self.retried += images if retry else 0
