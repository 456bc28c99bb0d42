"""The interface of a classifier, how it is asked, and the error that ends a budget."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from freemcg.messages.arguments import whole
from freemcg.messages.errors import InvalidType, InvalidValue, Refusal
from freemcg.messages.model_call import call_model, call_remote
from freemcg.messages.origin import is_ours

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
    """The answers as they arrive, each with its first image and its number of images. A callable is called now.

    Raises:
        TypeError: a `Remote` yields something else.
        ValueError: a `Remote` answers an image twice, or not at all.
    """
    if isinstance(predict, nn.Module) or not isinstance(predict, Remote):
        charge(len(images), False)
        return _each([(0, len(images), call_model(predict, images))])
    ours = is_ours(getattr(getattr(predict.answers, "__code__", None), "co_filename", ""))
    pieces = predict.answers(images, charge) if ours else call_remote(predict, images, charge)
    return _complete(pieces, len(images), f"{type(predict).__qualname__}.answers")


def _each(pieces: Iterable[Piece]) -> Generator[Piece]:
    yield from pieces


def _complete(pieces: Iterable[Piece], images: int, named: str) -> Generator[Piece]:
    """The pieces, which together must answer each image once."""
    left = set(range(images))
    with closing(_each(pieces)) as yielded:
        for piece in yielded:
            if not isinstance(piece, tuple | list) or len(piece) != 3:
                raise InvalidType(f"{named} must yield (start, count, scores), got {type(piece).__name__}")
            start, count = whole(f"the start from {named}", piece[0], 0), whole(f"the count from {named}", piece[1], 1)
            answered = set(range(start, start + count))
            if not answered <= left:
                raise InvalidValue(
                    f"{named} answered images {start}..{start + count - 1}, of which some were answered before or are "
                    f"not among the {images} asked about; it must answer each once"
                )
            left -= answered
            yield start, count, piece[2]
    if left:
        raise InvalidValue(f"{named} left image {min(left)} of {images} without an answer; it must answer each once")


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
