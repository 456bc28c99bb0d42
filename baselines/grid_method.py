"""What Sobol indices and HSIC share: a grid of cells, faded one by one, and how much the answer depends on each."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.query_method import QueryMethod
from freemcg.blackbox import BlackBox
from freemcg.gradient.objective import Objective
from freemcg.messages.arguments import whole
from freemcg.messages.errors import InvalidValue


class GridMethod(QueryMethod):
    """How much the answer depends on each cell of a grid. No value is negative: it does not say which way.

    A mask has a number in [0, 1] for each cell. The query is `base + (x - base) * mask`: at 1 a cell is kept, at 0 it
    is replaced. The map is the grid of values, enlarged bicubically, the same in every channel. So it may fall
    slightly below 0 between cells.

    Args:
        cells: the number of cells along a side of the grid.
        base: the brightness that a cell fades to, in [0, 1].
        black_box, queries, objective, seed, progress: as `QueryMethod`.
    """

    def __init__(
        self,
        black_box: BlackBox | Callable[[Tensor], Any],
        *,
        queries: int,
        cells: int | None,
        base: float,
        objective: str | Objective,
        seed: int,
        progress: bool,
    ) -> None:
        super().__init__(black_box, queries=queries, objective=objective, seed=seed, progress=progress)
        if not 0 <= base <= 1:
            raise InvalidValue(f"base must be in [0, 1], got {base}")
        self.cells = None if cells is None else whole("cells", cells, 2)
        self.base = base

    def _price(self, shape: tuple[int, ...]) -> int:
        if self._side > min(shape[1:]):
            raise InvalidValue(f"cells is {self._side}, too many for an image of {shape[1]}x{shape[2]}")
        return self._count

    def _attribute(self, image: Tensor, target: int) -> Tensor:
        masks = self._masks()
        answers = []
        for batch in masks.split(self.black_box.batch_size):
            grids = batch.float().reshape(-1, 1, self._side, self._side)
            shown = F.interpolate(grids, size=image.shape[1:], mode="nearest").to(image)
            answers.append(self._ask((self.base + (image - self.base) * shown).clamp(0, 1), target).double().cpu())
        values = self._values(masks, torch.cat(answers)).reshape(1, 1, self._side, self._side)
        enlarged = F.interpolate(values, size=image.shape[1:], mode="bicubic", align_corners=False)
        return enlarged[0].to(image).expand_as(image)

    @property
    @abstractmethod
    def _side(self) -> int:
        """The number of cells along a side, at least 2."""

    @property
    @abstractmethod
    def _count(self) -> int:
        """The number of masks."""

    @abstractmethod
    def _masks(self) -> Tensor:
        """The masks to ask about, `(_count, cells ** 2)` in [0, 1], float64 on the CPU."""

    @abstractmethod
    def _values(self, masks: Tensor, answers: Tensor) -> Tensor:
        """The value of each cell `(cells ** 2,)`, from the answers `(_count,)`."""
