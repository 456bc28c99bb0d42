"""RISE: how the answer depends on what random masks keep of the image (Petsiuk, Das, Saenko 2018, arXiv:1806.07421)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from baselines.query_method import QueryMethod
from freemcg.blackbox import BlackBox
from freemcg.diffusion.noise import generator_for
from freemcg.gradient.objective import Objective
from freemcg.messages.errors import InvalidValue


class RISE(QueryMethod):
    """`S(u) = sum_i (f(x * M_i) - c) M_i(u) / (n p)` over `n` smooth random masks; one map, the same in every channel.

    A mask begins as a grid of `cells` x `cells`; each cell is 1 with probability `keep`. It is enlarged bilinearly to
    one cell more than the image, and cropped at random. Beyond the centres of its outermost cells the grid is
    reflected, as in the authors' code. Masked pixels become black. Masks are made when they are needed, and not kept.

    Args:
        queries: `n = queries - 1`. The paper uses 4,000 to 8,000.
        cells: the number of cells along a side of the grid.
        keep: `p`, in (0, 1).
        centred: `True` takes the mean answer as `c`. The map is then signed, and 0 for a constant `f`. `False` takes
            `c = 0`, as published. With few masks, that map mostly shows how often each pixel was kept. With independent
            masks and a linear `f`, the expectation at every pixel is `(1 - p) w x`. As published, it is larger by
            `p f(x)`.
        objective: the probability by default, as published.
        black_box, seed, progress: as `QueryMethod`.

    An image costs `queries - 1` queries, and one more without `target`.
    """

    cost = "queries - 1"

    def __init__(
        self,
        black_box: BlackBox | Callable[[Tensor], Any],
        *,
        queries: int = 4001,
        cells: int = 8,
        keep: float = 0.5,
        centred: bool = True,
        objective: str | Objective = "probability",
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        super().__init__(black_box, queries=queries, objective=objective, seed=seed, progress=progress)
        if cells < 1:
            raise InvalidValue(f"cells must be >= 1, got {cells}")
        if not 0 < keep < 1:
            raise InvalidValue(f"keep must be in (0, 1), got {keep}")
        self.cells = cells
        self.keep = keep
        self.centred = centred

    def _price(self, shape: tuple[int, ...]) -> int:
        return self.queries - 1

    def _attribute(self, image: Tensor, target: int) -> Tensor:
        count, (height, width) = self._price(tuple(image.shape)), image.shape[1:]
        together, masks = torch.zeros(2, height, width, dtype=torch.double, device=image.device)
        answers = 0.0
        for first in range(0, count, self.black_box.batch_size):
            drawn = [
                self.mask(index, height, width) for index in range(first, min(count, first + self.black_box.batch_size))
            ]
            batch = torch.stack(drawn).to(image)
            scores = self._ask(image * batch[:, None], target).to(batch.device).double()
            together += torch.einsum("n,nhw->hw", scores, batch.double())
            masks += batch.double().sum(dim=0)
            answers += scores.sum().item()
        offset = answers / count if self.centred else 0.0
        values: Tensor = (together - offset * masks) / (count * self.keep)
        return values.to(image).expand_as(image)

    def mask(self, index: int, height: int, width: int) -> Tensor:
        """The mask number `index`, `(height, width)` in [0, 1]."""
        generator = generator_for(self.seed, "rise", index)
        grid = (torch.rand(self.cells, self.cells, generator=generator) < self.keep).float()
        sizes = math.ceil(height / self.cells), math.ceil(width / self.cells)
        top, left = (int(torch.randint(size, (), generator=generator)) for size in sizes)
        rows, columns = (_stretched(self.cells, (self.cells + 1) * size) for size in sizes)
        mask = rows[top : top + height] @ grid @ columns[left : left + width].T
        return mask.clamp(0, 1)  # rounding can make a sum larger than 1


def _stretched(cells: int, size: int) -> Tensor:
    """Weights `(size, cells)` that stretch a row of cells linearly, reflected about its outermost centres."""
    places = torch.arange(cells)
    position = (torch.arange(size) + 0.5) * cells / size - 0.5
    position = (cells - 1 - (cells - 1 - position.abs()).abs()).clamp(min=0)
    return (1 - (position[:, None] - places).abs()).clamp(min=0)
