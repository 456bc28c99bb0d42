"""Occlusion (Zeiler, Fergus 2014, arXiv:1311.2901), by captum."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from baselines.query_method import QueryMethod
from baselines.with_captum import captum_module
from freemcg.blackbox import BlackBox
from freemcg.gradient.objective import Objective
from freemcg.messages.errors import InvalidValue


class Occlusion(QueryMethod):
    """`f(x) - f(x with a window of constant brightness)`, averaged over the windows that cover a pixel.

    Args:
        window, stride: side of the window, and how far it moves, `1 <= stride <= window`. Give both or neither. By
            default the stride is the smallest for which `queries` suffices, and the window is twice as wide (our
            choice).
        base: brightness of the window, in [0, 1].
        black_box, queries, objective, seed, progress: as `QueryMethod`. Nothing here is random.

    An image costs `1 + (ceil((H - window) / stride) + 1) * (ceil((W - window) / stride) + 1)` queries, and one more
    without `target`. The window covers all channels at once.
    """

    cost = "1 + windows, at most queries - 1"

    def __init__(
        self,
        black_box: BlackBox | Callable[[Tensor], Any],
        *,
        queries: int = 257,
        window: int | None = None,
        stride: int | None = None,
        base: float = 0.0,
        objective: str | Objective = "log_odds",
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        super().__init__(black_box, queries=queries, objective=objective, seed=seed, progress=progress)
        if (window is None) != (stride is None):
            raise InvalidValue("give both window and stride, or neither")
        if window is not None and stride is not None and not 1 <= stride <= window:
            raise InvalidValue(f"stride must be in 1..window, got stride {stride} and window {window}")
        if not 0 <= base <= 1:
            raise InvalidValue(f"base must be in [0, 1], got {base}")
        self.window = window
        self.stride = stride
        self.base = base
        self._captum = captum_module("captum.attr", type(self).__name__)

    def _price(self, shape: tuple[int, ...]) -> int:
        return self._plan(shape)[2]

    def _plan(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """The window, the stride, and their cost in queries."""
        _, height, width = shape
        side = min(height, width)
        if self.window is None or self.stride is None:
            plans = [(min(2 * stride, side), stride) for stride in range(1, side + 1)]
        else:
            if self.window > side:
                raise InvalidValue(f"a window of {self.window} does not fit into an image of {height}x{width}")
            plans = [(self.window, self.stride)]
        for window, stride in plans:
            asked = 1 + math.prod(math.ceil((extent - window) / stride) + 1 for extent in (height, width))
            if asked < self.queries:
                return window, stride, asked
        raise InvalidValue(
            f"a window of {window} moved by {stride} needs {asked + 1} queries for an image of {height}x{width}, "
            f"got {self.queries}; widen the stride or raise queries"
        )

    def _attribute(self, image: Tensor, target: int) -> Tensor:
        window, stride, _ = self._plan(tuple(image.shape))
        values: Tensor = self._captum.Occlusion(lambda images: self._ask(images, target)).attribute(
            image[None],
            sliding_window_shapes=(len(image), window, window),
            strides=(len(image), stride, stride),
            baselines=self.base,
            perturbations_per_eval=self.black_box.batch_size,
        )
        return values[0]
