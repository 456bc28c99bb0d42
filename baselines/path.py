"""The one engine of all path methods: `a = sum_j G_j * (X_{j+1} - X_j)` along points `X_0 .. X_N`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

import torch
from torch import Tensor

RULES = ("left", "right", "trapezoid", "midpoint")


def integrate(points: Iterable[Tensor], gradient: Callable[[Tensor], Tensor], *, rule: str = "midpoint") -> Tensor:
    """Integrate a gradient along a path, elementwise.

    For a linear function every rule is exact with any number of points; on a straight path `midpoint` and `trapezoid`
    are exact for a quadratic one as well. The sum over an image approaches `f(X_N) - f(X_0)`.

    Args:
        points: `X_0 .. X_N`, each `(B, C, H, W)`; at least two. They are taken one after another, never all at once.
        gradient: of the function, at `(B, C, H, W)`.
        rule: where `G_j` is taken: at the `left` or `right` end of a piece, the mean of both (`trapezoid`), or
            `midpoint`.

    Costs N gradients an image, N + 1 for `trapezoid`.
    """
    if rule not in RULES:
        raise ValueError(f"rule must be one of {', '.join(RULES)}, got {rule!r}")
    total: Tensor | None = None
    before: Tensor | None = None
    for start, end in pairwise(points):
        if rule == "midpoint":
            slope = gradient((start + end) / 2)
        elif rule == "left":
            slope = gradient(start)
        elif rule == "right":
            slope = gradient(end)
        else:
            before = gradient(start) if before is None else before
            after = gradient(end)
            slope, before = (before + after) / 2, after
        piece = slope * (end - start)
        total = piece if total is None else total + piece
    if total is None:
        raise ValueError("a path needs at least two points")
    return total


def straight_line(start: Tensor, end: Tensor, steps: int) -> Iterable[Tensor]:
    """`steps + 1` evenly spaced points from `start` to `end`."""
    return (torch.lerp(start, end, index / steps) for index in range(steps + 1))
