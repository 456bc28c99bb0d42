"""What LIME and KernelSHAP share: patches that are present or missing, and a linear surrogate of the answers."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from baselines.query_method import QueryMethod
from baselines.with_captum import captum_module, seeded
from freemcg.blackbox import BlackBox
from freemcg.gradient.objective import Objective
from freemcg.messages.errors import InvalidValue


class PatchMethod(QueryMethod):
    """An attribution to square patches, from answers to images in which a constant replaces some of them.

    A patch's value is divided evenly among its pixels and channels, so a map has the same sum as the patches' values.

    Args:
        queries: `queries - 1` images with random patches missing are queried. Give a few times as many queries as there
            are patches. With fewer queries than patches, the surrogate is not determined.
        patch: side of a patch. Patches at the right and the lower border may be smaller.
        base: brightness of a missing patch, in [0, 1].
        black_box, objective, seed, progress: as `QueryMethod`.

    An image costs `queries - 1` queries, and one more without `target`.
    """

    cost = "queries - 1"
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
        self._captum = captum_module("captum.attr", type(self).__name__)

    def _price(self, shape: tuple[int, ...]) -> int:
        if max(shape[1:]) <= self.patch:
            raise InvalidValue(
                f"patch must be smaller than the image, got {self.patch} for an image of {shape[1]}x{shape[2]}"
            )
        return self.queries - 1

    def _attribute(self, image: Tensor, target: int) -> Tensor:
        mask = patch_mask(tuple(image.shape), self.patch)
        on_cpu = image.cpu()  # captum draws on the image's device, but only the CPU's generator is seeded
        with seeded(self.seed):
            values: Tensor = self._surrogate(lambda images: self._ask(images, target)).attribute(
                on_cpu[None],
                baselines=self.base,
                feature_mask=mask[None],
                n_samples=self._price(tuple(image.shape)),
                perturbations_per_eval=self.black_box.batch_size,
            )
        return (values[0] / mask.flatten().bincount()[mask]).to(image)

    @abstractmethod
    def _surrogate(self, ask: Callable[[Tensor], Tensor]) -> Any:
        """Captum's method, around the function `ask` that queries."""


def patch_mask(shape: tuple[int, ...], patch: int) -> Tensor:
    """The number of each pixel's patch, `(C, H, W)`. Patches are numbered row by row."""
    channels, height, width = shape
    rows, columns = torch.arange(height) // patch, torch.arange(width) // patch
    return (rows[:, None] * math.ceil(width / patch) + columns).expand(channels, height, width)
