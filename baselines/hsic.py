"""Dependence of the answer on the cells of a grid (Novello, Fel, Vigouroux 2022, arXiv:2206.06219)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from baselines.grid_method import GridMethod
from freemcg.blackbox import BlackBox
from freemcg.diffusion.noise import generator_for
from freemcg.gradient.objective import Objective


class HSIC(GridMethod):
    """The Hilbert-Schmidt independence criterion between a cell, present or not, and the answer.

    Each of `queries - 1` quasi-random masks keeps each cell with probability 1/2. For the estimator see `dependence`.

    Args:
        cells: 8 along a side by default, as in the authors' program.
        base, objective, seed, progress: as `GridMethod`. Masks are the same for every image.
        black_box, queries: as `QueryMethod`.

    An image costs `queries - 1` queries, and one more without `target`.
    """

    cost = "queries - 1"
    least = 2

    def __init__(
        self,
        black_box: BlackBox | Callable[[Tensor], Any],
        *,
        queries: int = 501,
        cells: int = 8,
        base: float = 0.0,
        objective: str | Objective = "log_odds",
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        super().__init__(
            black_box, queries=queries, cells=cells, base=base, objective=objective, seed=seed, progress=progress
        )

    @property
    def _side(self) -> int:
        assert self.cells is not None
        return self.cells

    @property
    def _count(self) -> int:
        return self.queries - 1

    def _masks(self) -> Tensor:
        engine = SobolEngine(self._side**2, scramble=True, seed=generator_for(self.seed, "hsic").initial_seed())
        return (engine.draw(self._count, dtype=torch.double) < 0.5).double()

    def _values(self, masks: Tensor, answers: Tensor) -> Tensor:
        return dependence(masks, answers)


def dependence(masks: Tensor, answers: Tensor) -> Tensor:
    """`tr(K H L H) / (p - 1)^2` for each cell, with `H = 1 - 1/p` (Gretton, Bousquet, Smola, Schoelkopf 2005).

    `K` is 1 where a cell is alike in two masks, and 0 elsewhere. With `s = 2 mask - 1` that is `(1 + s s^T) / 2`, so
    the trace is `s^T (H L H) s / 2`. `L` is the Gaussian kernel `exp(-d^2 / (2 w^2))` of the answers' distances `d`,
    and `w` is their median over the pairs that differ. (The authors' program takes the median answer, which must then
    be positive.) Adding a constant to the answers, or multiplying them by one, changes nothing.

    In expectation it is 0 for a cell that the answer does not depend on, up to a bias of order `1 / p`.

    Args:
        masks: 0 or 1, `(p, cells)`.
        answers: `(p,)`.

    Returns:
        `(cells,)`, at least 0; zeros if all answers are alike.
    """
    count = len(answers)
    distances = (answers[:, None] - answers[None]).abs()
    apart = distances[distances > 0]
    if not len(apart):
        return torch.zeros(masks.shape[1], dtype=answers.dtype)
    likeness = torch.exp(-(distances**2) / (2 * apart.median() ** 2))
    signs = 2 * masks - 1
    signs = signs - signs.mean(dim=0)
    return torch.einsum("pc,pq,qc->c", signs, likeness, signs) / (2 * (count - 1) ** 2)
