"""The interface of a classifier, how it is asked, and the error that ends a budget."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from freemcg.messages.errors import Refusal
from freemcg.messages.model_call import call_model

Charge = Callable[[int, bool], None]
"""`charge(images, retry)` is called before images are sent, and with `-images` if they could not be sent."""


@runtime_checkable
class Remote(Protocol):
    """A classifier that answers piece by piece, and may need a second try."""

    def answers(self, images: Tensor, charge: Charge) -> Iterator[tuple[int, int, Any]]:
        """Yield `(start, count, scores)` as answers arrive. It calls `charge` on any thread before it sends images."""


Predict = Callable[[Tensor], Any] | Remote
Piece = tuple[int, int, Any]


def ask(predict: Predict, images: Tensor, charge: Charge) -> Generator[Piece]:
    """The answers as they arrive, each with its first image and its number of images. A callable is called now."""
    if isinstance(predict, nn.Module) or not isinstance(predict, Remote):
        charge(len(images), False)
        return _each([(0, len(images), call_model(predict, images))])
    return _each(predict.answers(images, charge))


def _each(pieces: Iterable[Piece]) -> Generator[Piece]:
    yield from pieces


class QueryBudgetExceeded(Refusal, RuntimeError):
    """The next queries would pass the budget. None of them was sent, unless the budget ended during retries.

    Attributes:
        asked: the number of queries that were refused.
        remaining: queries left in the budget.
        answered: rows of log-probabilities, by the number of the image. These answers are known: the cache holds them,
            or they came before the budget ended.
    """

    def __init__(self, asked: int, remaining: int, budget: int) -> None:
        super().__init__(f"{asked} more queries would pass the budget of {budget}; {remaining} are left")
        self.asked = asked
        self.remaining = remaining
        self.answered: dict[int, Tensor] = {}
