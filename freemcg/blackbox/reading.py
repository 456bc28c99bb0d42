"""Read the answers of a classifier: check the rows of scores, and turn them into log-probabilities."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from freemcg.blackbox.likeness import likeness
from freemcg.blackbox.scores import MULTI_LABEL, ONE_NUMBER, SCORE_KINDS, TWO_CLASSES, VALUE, spread_top_k
from freemcg.blackbox.unwrap import as_tensor, is_row, unwrapped
from freemcg.messages.errors import InvalidType, InvalidValue

FIRST = 64


class OtherClasses(InvalidValue):
    """An answer has another number of classes than was declared, or than an earlier answer had."""


@dataclass
class Reading:
    """How answers are read.

    Attributes:
        kind: what the classifier answers, one of `SCORE_KINDS`.
        num_classes: known from the arguments, or from the first answer on.
        received: the first 64 answers that were read, `(N, S)` as they came; `None` before.

    Raises:
        ValueError: there is no such kind, or it does not go with the number of classes.
    """

    kind: str
    num_classes: int | None
    received: Tensor | None = field(default=None, init=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse an unknown kind, and a number of classes that does not go with the kind."""
        if not isinstance(self.kind, str) or self.kind not in SCORE_KINDS:
            raise InvalidValue(f"scores must be one of {', '.join(SCORE_KINDS)}, got {self.kind!r}")
        if self.kind in TWO_CLASSES and self.num_classes not in (None, 2):
            raise InvalidValue(f"scores='{self.kind}' has two classes, negative and positive, not {self.num_classes}")
        if self.kind in TWO_CLASSES:
            self.num_classes = 2
        if self.num_classes is not None and self.num_classes < self.least_classes:
            raise InvalidValue(f"num_classes must be >= {self.least_classes}, got {self.num_classes}")
        if self.kind in ("label", "top_k") and self.num_classes is None:
            raise InvalidValue(
                f"a black box that answers {'labels' if self.kind == 'label' else self.kind} needs class_names or "
                "num_classes"
            )

    @property
    def least_classes(self) -> int:
        """The fewest outputs that such a model can have."""
        return 1 if self.kind in (*MULTI_LABEL, VALUE) else 2

    def numbers(self, rows: Tensor) -> Tensor:
        """A mask of the scores, true for each number that such a model may answer."""
        if self.kind == "log_probabilities":
            return ~rows.isnan()
        finite = rows.float().isfinite()
        return finite | rows.isnan() if self.kind == "top_k" else finite

    def rows(self, answer: Any, count: int) -> Tensor:
        """The scores `(count, classes)` of an answer, or its labels `(count, 1)`, as received, in float64 on the CPU.

        Float64 holds every kind of number that a model answers, so no digit is lost before the answer is kept.
        """
        wanted = 1 if self.kind in ONE_NUMBER else 2
        if self.kind == "top_k" and isinstance(answer, tuple | list) and len(answer) == 2 and not is_row(answer[0]):
            labels, scores = (as_tensor(each) for each in answer)
            answer = spread_top_k(labels, scores.double(), self.num_classes or 0)
        answer = as_tensor(unwrapped(answer, count, wanted, None if wanted == 1 else self.num_classes))
        if answer.dtype == torch.bool and self.kind != "label":
            raise InvalidType("the black box answered truth values, which are no scores; return numbers, or say label")
        if self.kind in (*MULTI_LABEL, VALUE) and answer.ndim == 1:
            answer = answer[:, None]
        while answer.ndim > wanted and answer.shape[-1] == 1:
            answer = answer[..., 0]
        if answer.ndim != wanted or len(answer) != count:
            shape = f"({count},)" if wanted == 1 else f"({count}, classes)"
            one = wanted == 2 and answer.shape == (count,)
            hint = f"; {likeness(answer.double()[:, None]).proposal}" if one else ""
            raise InvalidValue(
                f"the black box answered shape {tuple(answer.shape)} for {count} images; it must be {shape}{hint}"
            )
        rows: Tensor = answer.double().cpu().reshape(count, -1)
        if wanted == 2 and rows.shape[1] < self.least_classes:
            raise InvalidValue(f"the black box answered one column of scores; {likeness(rows).proposal}")
        if wanted == 2:
            self.check_classes(rows.shape[1])
        finite = self.numbers(rows)
        if not finite.all():
            first = int((~finite).any(dim=1).nonzero()[0])
            raise InvalidValue(
                f"the black box answered NaN or infinity for image {first} of {count}; "
                "its answer must be finite numbers, so try it in float32"
            )
        self.meant(rows)  # refuses scores that are not as declared
        if self.received is None or len(self.received) < FIRST:
            self.received = rows if self.received is None else torch.cat([self.received, rows])[:FIRST]
        return rows

    def check_classes(self, count: int) -> None:
        """Take the number of classes from the first answer, and refuse any other number after that."""
        if self.num_classes is None:
            self.num_classes = count
        if count != self.num_classes:
            raise OtherClasses(f"the black box answered {count} classes; it has {self.num_classes}")

    def meant(self, rows: Tensor) -> Tensor:
        """The log-probabilities that the scores mean. Each row is read on its own."""
        scores = rows[:, 0] if self.kind in ONE_NUMBER else rows
        scores = scores if self.kind in (*TWO_CLASSES, *MULTI_LABEL) else scores.float()  # so 1 - p keeps its digits
        return SCORE_KINDS[self.kind](scores, self.num_classes or 0).float()
