"""How a classifier is asked, and the end of the budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from freemcg.messages.errors import Refusal

Charge = Callable[[int, bool], None]
"""`charge(images, retry)` is called before images are sent, and with `-images` if they could not be sent."""


@runtime_checkable
class Remote(Protocol):
    """A classifier that is asked piece by piece, and may have to be asked again."""

    def answers(self, images: Tensor, charge: Charge) -> Iterator[tuple[int, int, Any]]:
        """Yield `(start, count, scores)` as answers arrive. It calls `charge` on any thread before it sends images."""


Predict = Callable[[Tensor], Any] | Remote


class QueryBudgetExceeded(Refusal, RuntimeError):
    """The next question would pass the budget. Nothing of it was asked, unless the budget ended within retries.

    Attributes:
        asked: images in the question that was refused.
        remaining: queries left in the budget.
        answered: the answers that are known nevertheless, since the cache holds them or they came before the budget
            ended: rows of log-probabilities by the number of the image.
    """

    def __init__(self, asked: int, remaining: int, budget: int) -> None:
        super().__init__(f"{asked} more queries would pass the budget of {budget}; {remaining} are left")
        self.asked = asked
        self.remaining = remaining
        self.answered: dict[int, Tensor] = {}
