"""The one engine of all path methods: `a = sum_j G_j * (X_{j+1} - X_j)` along points `X_0 .. X_N`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

from freemcg.messages.errors import InvalidValue

RULES = ("left", "right", "trapezoid", "midpoint")
Gradient = Callable[[Tensor], Tensor]


def pieces(points: Iterable[Tensor], gradient: Gradient, *, rule: str) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The pieces of a path, one after another: `G_j, X_j, X_{j+1}`. For arguments and cost see `integrate`."""
    if rule not in RULES:
        raise InvalidValue(f"rule must be one of {', '.join(RULES)}, got {rule!r}")
    start: Tensor | None = None
    left: Tensor | None = None
    for start, end in pairwise(points):
        if rule == "midpoint":
            slope = gradient((start + end) / 2)
        elif rule == "left":
            slope = gradient(start)
        elif rule == "right":
            slope = gradient(end)
        else:
            left = gradient(start) if left is None else left
            right = gradient(end)
            slope, left = (left + right) / 2, right
        yield slope, start, end
    if start is None:
        raise InvalidValue("a path needs at least two points")


def integrate(points: Iterable[Tensor], gradient: Gradient, *, rule: str = "midpoint") -> Tensor:
    """Integrate a gradient along a path, elementwise.

    For a linear function every rule is exact with any number of points. On a straight path `midpoint` and `trapezoid`
    are exact for a quadratic function too. The sum over an image approaches `f(X_N) - f(X_0)`.

    Args:
        points: `X_0 .. X_N`, each `(B, C, H, W)`; at least two. They are taken one after another, never all at once.
        gradient: the gradient of the function, at points `(B, C, H, W)`.
        rule: where `G_j` is taken: at the `left` or `right` end of a piece, as the mean of both (`trapezoid`), or at
            the `midpoint`.

    Raises:
        ValueError: there is no such rule, or there are fewer than two points.

    An image costs N gradients, and N + 1 with `trapezoid`.
    """
    total: Tensor | float = 0.0
    for slope, start, end in pieces(points, gradient, rule=rule):
        total = total + slope * (end - start)
    return torch.as_tensor(total)


def straight_line(start: Tensor, end: Tensor, steps: int) -> Iterable[Tensor]:
    """`steps + 1` evenly spaced points from `start` to `end`."""
    return (torch.lerp(start, end, index / steps) for index in range(steps + 1))


def remembering(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The same function, which keeps its last value and returns it if the next call is for the very same tensor."""
    last: list[Tensor] = []

    def ask(points: Tensor) -> Tensor:
        if not last or last[0] is not points:
            last[:] = [points, function(points)]
        return last[1]

    return ask
