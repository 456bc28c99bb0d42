"""A black box that answers from a receipt and queries nothing."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from freemcg.blackbox.asking import QueryBudgetExceeded
from freemcg.blackbox.box import BlackBox
from freemcg.blackbox.receipt import Receipt
from freemcg.messages.errors import InvalidValue


class ReplayedBlackBox(BlackBox):
    """A black box that answers the questions of a receipt. They must come in the same order.

    Its budget ends at the same question as in the original run.

    Raises:
        ValueError: a call asks a question that the receipt does not hold at that place.
    """

    def __init__(self, receipt: Receipt) -> None:
        described = dict(receipt.black_box)
        size = described["image_size"]
        described["image_size"] = None if size is None else tuple(size)
        super().__init__(_Absent(described.pop("identity")), **described, budget=receipt.remaining)
        self._left = list(receipt.questions)
        self._asked = 0

    @property
    def unasked(self) -> int:
        """The number of questions in the receipt that have not been asked yet."""
        return len(self._left)

    def _answer(self, images: Tensor, keys: list[bytes], found: dict[int, Tensor]) -> None:
        self._asked += 1
        keys = self._keys(images)
        if not self._left or list(self._left[0].keys) != keys:
            held = f"{len(self._left[0].keys)} other images" if self._left else "nothing"
            raise InvalidValue(
                f"the receipt does not hold question {self._asked}: that has {len(keys)} images, and the receipt has "
                f"{held} in its place; replay with the versions, the denoiser and the device that made the receipt"
            )
        question = self._left.pop(0)
        self.queries += question.charged
        self.answered += len(question.answers)
        found |= question.answers
        if len(found) < len(keys):
            raise QueryBudgetExceeded(len(keys) - len(found), self.remaining or 0, self.budget or 0)


class _Absent:
    """A stand-in for the classifier. Only the identity of that is known, and nobody calls it."""

    def __init__(self, identity: str) -> None:
        self.identity = identity

    def __call__(self, images: Tensor) -> Any:
        raise InvalidValue(f"a replay queries no model, so {self.identity} cannot be queried")
