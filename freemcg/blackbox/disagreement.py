"""The size of the disagreement between several answers to one image."""

from __future__ import annotations

from torch import Tensor

SAME = 1e-4
"""Answers that differ by no more than this are the same."""


def on_one_scale(answers: Tensor, *, values: bool) -> Tensor:
    """Answers `(N, S)` as probabilities, or as values in units of the largest value of the first answer.

    Args:
        answers: log-probabilities, or values.
        values: whether they are values.
    """
    return answers / answers[0].abs().max().clamp(min=1e-12) if values else answers.exp()


def spread(answers: Tensor) -> float:
    """The largest difference between two rows in one entry."""
    return float((answers.amax(dim=0) - answers.amin(dim=0)).max())
