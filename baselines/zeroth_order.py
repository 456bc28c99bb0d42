"""Zeroth-order gradients in pixel space: central differences along random directions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from baselines.antithetic import antithetic_gradient
from baselines.query_method import QueryMethod
from freemcg.blackbox import BlackBox
from freemcg.diffusion.noise import generator_for
from freemcg.gradient.objective import Objective
from freemcg.messages.errors import InvalidValue

Shape = tuple[int, ...]


def gaussian(count: int, shape: Shape, seed: int) -> Iterator[Tensor]:
    """Standard normal: the Gaussian smoothing of Nesterov, Spokoiny 2017; evolution strategies (Wierstra 2014)."""
    return (torch.randn(shape, generator=generator_for(seed, "zeroth order", index)) for index in range(count))


def rademacher(count: int, shape: Shape, seed: int) -> Iterator[Tensor]:
    """Every pixel up or down: the simultaneous perturbation of Spall 1992 (SPSA)."""
    for index in range(count):
        yield 2.0 * torch.randint(2, shape, generator=generator_for(seed, "zeroth order", index)) - 1


def orthonormal(count: int, shape: Shape, seed: int) -> Iterator[Tensor]:
    """Random orthogonal directions of norm `sqrt(D)`, in frames of at most `D = C * H * W`, held one at a time."""
    size = math.prod(shape)
    for frame, first in enumerate(range(0, count, size)):
        drawn = torch.randn(size, min(size, count - first), generator=generator_for(seed, "zeroth order", frame))
        yield from (math.sqrt(size) * torch.linalg.qr(drawn.double())[0].T.float()).reshape(-1, *shape)


def coordinates(count: int, shape: Shape, seed: int) -> Iterator[Tensor]:
    """One pixel of one channel after another, with norm `sqrt(D)`. It draws no random numbers."""
    size = math.prod(shape)
    for index in range(count):
        direction = torch.zeros(size)
        direction[index] = math.sqrt(size)
        yield direction.reshape(shape)


DIRECTIONS: dict[str, Callable[[int, Shape, int], Iterator[Tensor]]] = {
    "gaussian": gaussian,
    "rademacher": rademacher,
    "orthonormal": orthonormal,
    "coordinates": coordinates,
}


class ZerothOrder(QueryMethod):
    """`mean_i (f(x + s u_i) - f(x - s u_i)) u_i / (2 s)`: the gradient, from `n` pairs of answers.

    In expectation it is the gradient of a linear or quadratic `f`. Its cosine to the gradient is about
    `sqrt(n / (n + D + 1))` with Gaussian directions and `sqrt(n / (n + D - 1))` with Rademacher ones, in
    `D = C * H * W` dimensions. It is exact with all coordinates, or with `n = D` orthonormal directions. For pixels
    near black and white see `baselines.antithetic`.

    Args:
        queries: gives `n = (queries - 1) // 2` pairs. The 512 pairs of the default are our choice.
        directions: `"gaussian"`, `"rademacher"`, `"orthonormal"` or `"coordinates"`. The last needs `2 * D + 1` queries
            and uses no more.
        smoothing: `s`, the standard deviation of a pixel's move, > 0. For `"coordinates"` it is the move itself.
        black_box, objective, seed, progress: as `QueryMethod`.

    An image costs `2 * n` queries, and one more without `target`.
    """

    cost = "2 * ((queries - 1) // 2)"

    def __init__(
        self,
        black_box: BlackBox | Callable[[Tensor], Any],
        *,
        queries: int = 1025,
        directions: str = "gaussian",
        smoothing: float = 0.01,
        objective: str | Objective = "log_odds",
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        super().__init__(black_box, queries=queries, objective=objective, seed=seed, progress=progress)
        if directions not in DIRECTIONS:
            raise InvalidValue(f"directions must be one of {', '.join(DIRECTIONS)}, got {directions!r}")
        if not smoothing > 0:
            raise InvalidValue(f"smoothing must be > 0, got {smoothing}")
        self.directions = directions
        self.smoothing = smoothing

    def _price(self, shape: Shape) -> int:
        if self.directions != "coordinates":
            return 2 * ((self.queries - 1) // 2)
        if self.queries < 2 * math.prod(shape) + 1:
            raise InvalidValue(
                f"directions 'coordinates' need {2 * math.prod(shape) + 1} queries for an image of "
                f"{'x'.join(map(str, shape))}, got {self.queries}"
            )
        return 2 * math.prod(shape)

    def _attribute(self, image: Tensor, target: int) -> Tensor:
        shape = tuple(image.shape)
        drawn = DIRECTIONS[self.directions](self._price(shape) // 2, shape, self.seed)
        smoothing = self.smoothing / math.sqrt(math.prod(shape)) if self.directions == "coordinates" else self.smoothing
        return antithetic_gradient(
            lambda images: self._ask(images, target),
            ((image, direction.to(image)) for direction in drawn),
            smoothing,
            batch_size=self.black_box.batch_size,
        )
