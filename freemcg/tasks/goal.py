"""The goals of counterfactuals without a class to reach: a label to turn on or off, or a number to reach.

Either goal is a question with the answers no and yes, so the same search serves it. Is the label there? Is the number
where it was wanted? The log-odds tell how far the goal is, and are 0 where it is just reached.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from freemcg.blackbox import BlackBox
from freemcg.blackbox.scores import MULTI_LABEL, VALUE
from freemcg.gradient.objective import label_log_odds, two_classes
from freemcg.messages.errors import InvalidValue

TOLERANCE = 0.1
AT_THE_START = 5.0
FORMS = re.compile(r"(?:(?P<output>.*)=)?(?P<way>to|up|down)?:?(?P<amount>[-+]?[0-9.]+(?:[eE][-+]?\d+)?)", re.DOTALL)


@dataclass
class LabelGoal:
    """One of several labels that do not exclude one another. It is turned off if it is there, and else on."""

    label: int
    name: str
    target: None = None  # the runner-up: the one of no and yes that the image is not

    @property
    def names(self) -> list[str]:
        """The names of the two answers."""
        return [f"not {self.name}", self.name]

    def reading(self, answers: Tensor) -> Tensor:
        """Log-probabilities `(N, 2)` of no and yes."""
        return two_classes(label_log_odds(answers[:, self.label]))

    def told(self, start: Tensor, end: Tensor) -> dict[str, Any]:
        """The entries of a result's record for this goal."""
        return {"goal": self.label}


@dataclass
class ValueGoal:
    """A number to reach within a tenth of the way there, or to raise or lower by at least an amount.

    Its log-odds tell how far the number has come. They are -5 for the image itself, and 0 where the goal begins. A
    number to reach can also be passed: `landed` tells, and `freemcg.tasks.between` moves the image back.
    """

    output: int
    name: str
    way: str
    amount: float
    target: int = 1
    start: float | None = None
    seen: list[tuple[float, float]] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """The names of the two answers."""
        wanted = f"{self.amount:g}" if self.way == "to" else f"{self.way} by {self.amount:g}"
        return [f"{self.name} as before", f"{self.name} {wanted}"]

    def reading(self, answers: Tensor) -> Tensor:
        """Log-probabilities `(N, 2)` of not reached and reached. The first answer read is for the image itself."""
        if self.output >= answers.shape[1]:
            raise InvalidValue(f"there is no output {self.output}; outputs are 0..{answers.shape[1] - 1}")
        values = answers[:, self.output].double()
        if self.start is None:
            self.start = float(values[0])
        log_odds = self._log_odds(values, self.start)
        self.seen += zip(log_odds.float().tolist(), values.tolist(), strict=True)
        return two_classes(log_odds).float()

    def landed(self, value: float) -> bool:
        """Whether a number to reach is within a tenth of the way from its goal. A raise or a fall has no end."""
        if self.start is None or self.way != "to":
            return True
        return abs(value - self.amount) <= TOLERANCE * abs(self.amount - self.start)

    def _log_odds(self, values: Tensor, start: float) -> Tensor:
        if self.way != "to":
            moved = (values - start) if self.way == "up" else (start - values)
            return (moved - self.amount) * (AT_THE_START / self.amount)
        distance = self.amount - start
        if distance == 0:
            return torch.ones_like(values)
        return ((values - start) / distance - (1 - TOLERANCE)) * (AT_THE_START / (1 - TOLERANCE))

    def told(self, start: Tensor, end: Tensor) -> dict[str, Any]:
        """The entries of a result's record for this goal, with the number before and after."""
        wanted = f"{self.amount:g}" if self.way == "to" else f"{self.way}:{self.amount:g}"
        return {
            "goal": f"{self.name}={wanted}" if self.name != str(self.output) else f"{self.output}={wanted}",
            "value before": self.value_of(start),
            "value": self.value_of(end),
        }

    def value_of(self, row: Tensor) -> float:
        """The number that the black box answered, found by the log-odds that were computed from it."""
        wanted = (row[1] - row[0]).item()
        return min(self.seen, key=lambda each: abs(each[0] - wanted))[1]


Goal = LabelGoal | ValueGoal


def goal_of(black_box: BlackBox, target: Any) -> Goal | None:
    """The goal that a target means for this black box. It is `None` if the target is a class to be decided as.

    Args:
        target: a label, by name or index. For values it is a number to reach, `"up:1.5"` or `"down:2"`. If there are
            several values, the output comes before it: `"age=up:5"`.

    Raises:
        ValueError: the target is missing, or none of these.
    """
    if black_box.scores in MULTI_LABEL:
        if target is None:
            raise InvalidValue("name the label that is to change: there is no runner-up among independent labels")
        label = black_box.class_index(target)
        return LabelGoal(label, _name(black_box, label))
    if black_box.scores != VALUE:
        return None
    found = None if target is None else FORMS.fullmatch(str(target).strip())
    if found is None:
        raise InvalidValue(
            f"the goal for a value is a number to reach, up:AMOUNT or down:AMOUNT, after NAME= if there are several "
            f"outputs; got {target!r}"
        )
    output, several = found["output"], (black_box.num_classes or 1) > 1
    if output is None and several:
        raise InvalidValue(f"the model answers {black_box.num_classes} numbers; say which, as NAME={target}")
    index = black_box.class_index(int(output) if output and output.isdecimal() else output) if output else 0
    try:
        amount = float(found["amount"])
    except ValueError:
        raise InvalidValue(f"{found['amount']!r} is no number, in the goal {target!r}") from None
    way = found["way"] or "to"
    if way != "to" and amount <= 0:
        raise InvalidValue(f"the amount of {way} must be > 0, got {amount:g}")
    return ValueGoal(index, _name(black_box, index), way, amount)


def _name(black_box: BlackBox, index: int) -> str:
    return str(index) if black_box.class_names is None else black_box.class_names[index]
