"""Total Sobol indices of the cells of a grid (Fel et al. 2021, arXiv:2111.04138)."""

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
from freemcg.messages.errors import InvalidValue

DESIGNS = 3
MOST_CELLS = 8  # the default of the authors' program


class Sobol(GridMethod):
    """The share of the answer's variance that is lost if a cell does not vary: main effect and interactions.

    For `n` pairs `(a, b)` of masks, quasi-random and uniform in [0, 1], the answers to `a`, to `b`, and to `a` with the
    cell's number of `b` are queried. The index follows by Jansen's estimator, see `total_indices`.

    Args:
        cells: by default the most, up to 8, that leave at least 3 pairs of masks; 2 if there are none. The authors take
            8 cells a side and 32 pairs, 2,112 queries. With fewer queries, small cells matter more than many pairs:
            with 256 on bundled digits, 8 cells and 3 pairs did better in insertion and deletion than 5 and 9.
        base, objective, seed, progress: as `GridMethod`. Masks are the same for every image.
        black_box, queries: as `QueryMethod`.

    An image costs `n * (cells ** 2 + 2)` queries with the largest `n` for which `queries - 1` suffice, and one more
    without `target`.
    """

    cost = "n * (cells ** 2 + 2), at most queries - 1"
    least = 6
    fewest = 7

    def __init__(
        self,
        black_box: BlackBox | Callable[[Tensor], Any],
        *,
        queries: int = 2113,
        cells: int | None = None,
        base: float = 0.0,
        objective: str | Objective = "log_odds",
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        super().__init__(
            black_box, queries=queries, cells=cells, base=base, objective=objective, seed=seed, progress=progress
        )
        if self._designs < 1:
            raise InvalidValue(
                f"queries must be >= {self._side**2 + 3} for {self._side} cells a side, got {self.queries}"
            )

    @property
    def _side(self) -> int:
        if self.cells is not None:
            return self.cells
        affordable = [side for side in range(2, MOST_CELLS + 1) if DESIGNS * (side**2 + 2) < self.queries]
        return max(affordable, default=2)

    @property
    def _designs(self) -> int:
        return (self.queries - 1) // (self._side**2 + 2)

    @property
    def _count(self) -> int:
        return self._designs * (self._side**2 + 2)

    def _masks(self) -> Tensor:
        first, second = pairs(self._designs, self._side**2, self.seed)
        return torch.cat([first, second, exchanged(first, second).flatten(0, 1)])

    def _values(self, masks: Tensor, answers: Tensor) -> Tensor:
        first, second, mixed = answers.split([self._designs, self._designs, self._designs * self._side**2])
        return total_indices(first, second, mixed.reshape(self._designs, -1))


def pairs(count: int, cells: int, seed: int) -> tuple[Tensor, Tensor]:
    """Two sets of masks `(count, cells)`, uniform in [0, 1]: the halves of a scrambled Sobol sequence."""
    seeded = generator_for(seed, "sobol").initial_seed()
    points: Tensor = SobolEngine(2 * cells, scramble=True, seed=seeded).draw(count, dtype=torch.double)
    return points[:, :cells], points[:, cells:]


def exchanged(first: Tensor, second: Tensor) -> Tensor:
    """`(n, cells, cells)`: mask `[j, i]` is mask `j` of `first`, with the number of cell `i` from `second`."""
    own = torch.eye(first.shape[1], dtype=first.dtype)
    return first[:, None] * (1 - own) + second[:, None] * own


def total_indices(first: Tensor, second: Tensor, mixed: Tensor) -> Tensor:
    """Jansen's estimator of the total indices, `mean_j (f(a_j) - f(a_j with b_j's cell i))^2 / (2 Var f)`.

    For independent uniform masks it is `E[Var(f | all cells but i)] / Var f` in expectation: the share of the variance
    if `f` is a sum of functions of one cell each, and more with interactions. Jansen 1999.

    Args:
        first, second: the answers to both sets of masks, `(n,)`. Both give the variance (the authors take the first).
        mixed: the answers to `exchanged` masks, `(n, cells)`.

    Returns:
        `(cells,)`; zeros if all answers are alike.
    """
    variance = torch.cat([first, second]).var()
    lost = (first[:, None] - mixed).square().mean(dim=0) / 2
    return torch.where(variance > 0, lost / variance, 0.0)
