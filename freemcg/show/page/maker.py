"""What a page may say of the method that made a counterfactual: no more than its record and its realism bear."""

from __future__ import annotations

from typing import Any

Counterfactual = Any
REALISTIC = 1.25
"""An answer whose denoising error is at most so many times that of the input is called realistic."""


def method_of(result: Counterfactual) -> str:
    """The name of the method, if it is not the search of this package; else the empty text."""
    return str(result.record.get("method", ""))


def only_asks(result: Counterfactual) -> bool:
    """Whether it is known that the classifier was asked only, and its weights were not read."""
    return not method_of(result) or result.record.get("reads_weights") is False


def is_drawn(result: Counterfactual) -> bool:
    """Whether it is known that the image model drew the answer and the steps that lead to it."""
    return not method_of(result) or result.record.get("drawn_by_image_model") is True


def is_realistic(result: Counterfactual) -> bool:
    """Whether the answer is about as realistic as the input, or more."""
    return bool(result.realism <= REALISTIC)  # NaN is not


def is_told(result: Counterfactual | None) -> bool:
    """Whether there is a counterfactual, and it has a signal: without one, what was found means nothing."""
    return result is not None and bool(result.status != "no_signal")


def found_by(result: Counterfactual) -> str:
    """A sentence that names another method and says how it asked; empty for the search of this package."""
    name, reads = method_of(result), result.record.get("reads_weights")
    if not name:
        return ""
    how = {True: ", which reads the classifier's gradients", False: ", which only asks"}.get(reads, "")
    return f"It was found by {name}{how}."
