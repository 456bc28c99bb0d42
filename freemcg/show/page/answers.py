"""What the classifier answered, before and after the change: one row for each class worth showing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from freemcg.blackbox.scores import MULTI_LABEL, VALUE
from freemcg.show.names import class_name
from freemcg.show.page.words import chance, number

MOST_ROWS = 12
LEAST = -12.0
"""The left end of the scale: a trillionth."""
TICKS = ((0, "certain", "1"), (-3, "", "10⁻³"), (-6, "a millionth", "10⁻⁶"))
LAST_TICK = (LEAST, "≤ a trillionth", "≤ 10⁻¹²")
LABEL = "label"


@dataclass(frozen=True)
class Row:
    """The answers for one class.

    Attributes:
        name: the name of the class.
        before, after: in words; `after` is `None` without a counterfactual.
        left, right: the same on the scale, in percent from its left end.
        marked: whether the class was decided, before or after.
    """

    name: str
    before: str
    after: str | None
    left: float
    right: float | None
    marked: bool


@dataclass(frozen=True)
class Answers:
    """All rows, and how to read them.

    Attributes:
        kind: `chances` on a scale of factors, `labels` on a scale from 0 to 1, `values`, or `none` without rows. A
            bare label has no score, and a number to reach is told in words.
        unshown: how many classes are left out.
        ticks: places on the scale in percent, each with a long and a short name.
    """

    kind: str
    rows: list[Row]
    unshown: int
    ticks: list[tuple[float, str, str]]


def answers(record: Mapping[str, Any], before: Tensor, after: Tensor | None, marked: Sequence[int]) -> Answers:
    """The answers `(num_classes,)` for an image, and for its counterfactual.

    Of many classes, the most probable of either answer are shown, and those `marked`, in the order of the classes.
    """
    scores = record.get("scores", "")
    if scores == LABEL or "value" in record:
        return Answers("none", [], 0, [])
    kind = "values" if scores == VALUE else "labels" if scores in MULTI_LABEL and "goal" not in record else "chances"
    shown = _worth_showing(before, after, marked)
    first, second = before.tolist(), None if after is None else after.tolist()
    rows = [
        Row(
            name=class_name(record, index),
            before=_said(first[index], kind),
            after=None if second is None else _said(second[index], kind),
            left=_place(first[index], kind),
            right=None if second is None else _place(second[index], kind),
            marked=index in marked,
        )
        for index in shown
    ]
    ticks = [(_place(each[0] * math.log(10), kind), each[1], each[2]) for each in (*TICKS, LAST_TICK)]
    if kind == "labels":
        ticks = [(0.0, "surely not", "0"), (50.0, "undecided", "½"), (100.0, "surely", "1")]
    return Answers(kind, rows, len(before) - len(shown), ticks)


def _worth_showing(before: Tensor, after: Tensor | None, marked: Sequence[int]) -> list[int]:
    if len(before) <= MOST_ROWS:
        return list(range(len(before)))
    shown = list(dict.fromkeys(marked))
    orders = [each.argsort(descending=True).tolist() for each in (before, after) if each is not None]
    for ranked in zip(*orders, strict=True):
        for index in ranked:
            if index not in shown and len(shown) < MOST_ROWS:
                shown.append(index)
        if len(shown) == MOST_ROWS:
            break
    return sorted(shown, key=lambda index: -before[index].item())


def _said(answer: float, kind: str) -> str:
    return number(answer, 4) if kind == "values" else chance(answer)


def _place(answer: float, kind: str) -> float:
    if kind == "values":
        return 0.0
    if kind == "labels":
        return 100 * math.exp(answer)
    return 100 * (1 - max(LEAST, answer / math.log(10)) / LEAST)
