"""What LIME and KernelSHAP share: a linear surrogate of the answers, fitted by captum."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from baselines.patch_method import PatchMethod
from baselines.with_captum import captum_module, seeded
from freemcg.blackbox import BlackBox
from freemcg.gradient.objective import Objective


class SurrogateMethod(PatchMethod):
    """The coefficients of a linear surrogate of the answers, one for each patch. For arguments see `PatchMethod`.

    An image costs `queries - 1` queries, and one more without `target`.
    """

    cost = "queries - 1"

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
        super().__init__(
            black_box, queries=queries, patch=patch, base=base, objective=objective, seed=seed, progress=progress
        )
        self._captum = captum_module("captum.attr", type(self).__name__)

    def _patch_values(self, image: Tensor, mask: Tensor, target: int) -> Tensor:
        on_cpu = image.cpu()  # captum draws on the image's device, but only the CPU's generator is seeded
        with seeded(self.seed):
            values: Tensor = self._surrogate(lambda images: self._ask(images, target)).attribute(
                on_cpu[None],
                baselines=self.base,
                feature_mask=mask[None],
                n_samples=self._price(tuple(image.shape)),
                perturbations_per_eval=self.black_box.batch_size,
            )
        counts = mask.flatten().bincount()
        return torch.zeros(len(counts)).scatter_add_(0, mask.flatten(), values[0].flatten()) / counts

    @abstractmethod
    def _surrogate(self, ask: Callable[[Tensor], Tensor]) -> Any:
        """Captum's method, around the function `ask` that queries."""
