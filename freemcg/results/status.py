"""How an explanation ended."""

from __future__ import annotations

from enum import Enum


class Status(str, Enum):
    """How an explanation ended. It equals, and is written as, its string."""

    COMPLETE = "complete"
    NO_SIGNAL = "no_signal"
    BUDGET_EXHAUSTED = "budget_exhausted"
    NOT_FLIPPED = "not_flipped"
    ALREADY_TARGET = "already_target"
    MODEL_CHANGED = "model_changed"

    __str__ = str.__str__
