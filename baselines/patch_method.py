"""What methods on patches share: patches that are present or missing, and a map of what each patch adds."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from baselines.query_method import QueryMethod
from freemcg.blackbox import BlackBox
from freemcg.gradient.objective import Objective
from freemcg.messages.errors import InvalidValue


class PatchMethod(QueryMethod):
    """An attribution to square patches, from answers to images in which a constant replaces some of them.

    A patch's value is divided evenly among its pixels and channels, so a map has the same sum as the patches' values.

    Args:
        queries: at most `queries - 1` images with random patches missing are queried. Give a few times as many queries
            as there are patches. With fewer queries than patches, the values are not determined.
        patch: side of a patch. Patches at the right and the lower border may be smaller.
        base: brightness of a missing patch, in [0, 1].
        black_box, objective, seed, progress: as `QueryMethod`.
    """

    fewest = 4

    def __init__(
        self,
        black_box: BlackBox | Callable[[Tensor], Any],
        *,
        queries: int = 257,
        patch: int = 4,
        base: float = 0.0,
        objective: str | Objective = "log_odds",
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        super().__init__(black_box, queries=queries, objective=objective, seed=seed, progress=progress)
        if patch < 1:
            raise InvalidValue(f"patch must be >= 1, got {patch}")
        if not 0 <= base <= 1:
            raise InvalidValue(f"base must be in [0, 1], got {base}")
        self.patch = patch
        self.base = base

    def _price(self, shape: tuple[int, ...]) -> int:
        if max(shape[1:]) <= self.patch:
            raise InvalidValue(
                f"patch must be smaller than the image, got {self.patch} for an image of {shape[1]}x{shape[2]}"
            )
        return self.queries - 1

    def _attribute(self, image: Tensor, target: int) -> Tensor:
        mask = patch_mask(tuple(image.shape), self.patch)
        values = self._patch_values(image, mask, target)
        return (values / mask.flatten().bincount())[mask].to(image)

    @abstractmethod
    def _patch_values(self, image: Tensor, mask: Tensor, target: int) -> Tensor:
        """The value of each patch, `(patches,)` on the CPU.

        Args:
            image: `(C, H, W)`.
            mask: the number of each pixel's patch, `(C, H, W)`.
        """


def patch_mask(shape: tuple[int, ...], patch: int) -> Tensor:
    """The number of each pixel's patch, `(C, H, W)`. Patches are numbered row by row."""
    channels, height, width = shape
    rows, columns = torch.arange(height) // patch, torch.arange(width) // patch
    return (rows[:, None] * math.ceil(width / patch) + columns).expand(channels, height, width)
