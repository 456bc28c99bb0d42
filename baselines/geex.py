"""GEEX: integrated gradients of a smoothed classifier, from queries (Cai, Wunder, ICML 2024, arXiv:2308.09381)."""

from __future__ import annotations

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


class GEEX(QueryMethod):
    """`(x - x') * mean_i (f(x(t_i) + e_i) - f(x(t_i) - e_i)) e_i / (2 s^2)`, with `x(t) = x' + t (x - x')`.

    In expectation these are the integrated gradients of `f` smoothed by a Gaussian of deviation `s`; for a linear `f`
    they are `w * (x - x')`. The code follows this definition. The authors' program halves the noise but divides by
    `s^2`, and with mirrored noise it covers half of the path. Query points are clipped to [0, 1]: see
    `baselines.antithetic`. The variant with binary masks is not implemented.

    Args:
        queries: gives `n = (queries - 1) // 2` mirrored pairs, at `t_i = (i + 1/2) / n`.
        base: brightness of the constant base-point `x'`, in [0, 1]. A pixel equal to it gets 0.
        smoothing: `s`, > 0. The default is our choice: with the paper's 1, digits would nearly always leave [0, 1].
        black_box, objective, seed, progress: as `QueryMethod`.

    An image costs `2 * n` queries, and one more without `target`.
    """

    cost = "2 * ((queries - 1) // 2)"

    def __init__(
        self,
        black_box: BlackBox | Callable[[Tensor], Any],
        *,
        queries: int = 5001,
        base: float = 0.0,
        smoothing: float = 0.2,
        objective: str | Objective = "log_odds",
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        super().__init__(black_box, queries=queries, objective=objective, seed=seed, progress=progress)
        if not 0 <= base <= 1:
            raise InvalidValue(f"base must be in [0, 1], got {base}")
        if not smoothing > 0:
            raise InvalidValue(f"smoothing must be > 0, got {smoothing}")
        self.base = base
        self.smoothing = smoothing

    def _price(self, shape: tuple[int, ...]) -> int:
        return 2 * ((self.queries - 1) // 2)

    def _attribute(self, image: Tensor, target: int) -> Tensor:
        gradient = antithetic_gradient(
            lambda images: self._ask(images, target),
            self._pairs(image),
            self.smoothing,
            batch_size=self.black_box.batch_size,
        )
        return (image - self.base) * gradient

    def _pairs(self, image: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        count = (self.queries - 1) // 2
        for index in range(count):
            direction = torch.randn(image.shape, generator=generator_for(self.seed, "geex", index)).to(image)
            yield self.base + (index + 0.5) / count * (image - self.base), direction
