"""LIME (Ribeiro, Singh, Guestrin 2016, arXiv:1602.04938) on patches, by captum."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from baselines.surrogate_method import SurrogateMethod
from baselines.with_captum import captum_module
from freemcg.blackbox import BlackBox
from freemcg.gradient.objective import Objective
from freemcg.messages.errors import InvalidValue


class LIME(SurrogateMethod):
    """Coefficients of a linear surrogate of the answers. Each patch is present with probability 1/2.

    Args:
        kernel_width: samples are weighted `exp(-d^2 / (2 * kernel_width^2))`, with `d` their cosine distance from the
            image. A larger width makes the weights more alike. The default is captum's.
        shrinkage: the penalty of the Lasso. At 0 the surrogate is ordinary weighted least squares, and only then is it
            exact on a linear `f`. The default is captum's 0.01.
        black_box, queries, patch, base, objective, seed, progress: as `SurrogateMethod`. The cost is the same too.
    """

    def __init__(
        self,
        black_box: BlackBox | Callable[[Tensor], Any],
        *,
        queries: int = 257,
        patch: int = 4,
        base: float = 0.0,
        kernel_width: float = 1.0,
        shrinkage: float = 0.01,
        objective: str | Objective = "log_odds",
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        super().__init__(
            black_box, queries=queries, patch=patch, base=base, objective=objective, seed=seed, progress=progress
        )
        if not kernel_width > 0:
            raise InvalidValue(f"kernel_width must be > 0, got {kernel_width}")
        if shrinkage < 0:
            raise InvalidValue(f"shrinkage must be >= 0, got {shrinkage}")
        self.kernel_width = kernel_width
        self.shrinkage = shrinkage
        self._models = captum_module("captum._utils.models.linear_model", type(self).__name__)

    def _surrogate(self, ask: Callable[[Tensor], Tensor]) -> Any:
        models = self._models
        model = models.SkLearnLasso(alpha=self.shrinkage) if self.shrinkage > 0 else models.SkLearnLinearRegression()
        return self._captum.Lime(ask, interpretable_model=model, similarity_func=self._similarity)

    def _similarity(self, image: Tensor, perturbed: Tensor, sample: Tensor, **settings: Any) -> float:
        distance = 1 - F.cosine_similarity(image.flatten(), perturbed.flatten(), dim=0).item()
        return math.exp(-(distance**2) / (2 * self.kernel_width**2))
