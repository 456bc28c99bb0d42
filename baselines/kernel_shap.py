"""KernelSHAP (Lundberg, Lee 2017, arXiv:1705.07874) on patches, by captum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from baselines.surrogate_method import SurrogateMethod


class KernelSHAP(SurrogateMethod):
    """Shapley values of patches, by least squares over coalitions drawn from the Shapley kernel.

    A map sums to `f(x) - f(base)`, with a relative error of about 1e-4. Both of these images are queried, and each
    weighs 1e6 times as much as another. The map is exact on a linear `f`. For arguments and cost see `SurrogateMethod`.
    """

    def _surrogate(self, ask: Callable[[Tensor], Tensor]) -> Any:
        return self._captum.KernelShap(ask)
