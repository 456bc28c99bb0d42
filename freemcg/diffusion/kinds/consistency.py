"""Consistency models (Song et al. 2023)."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from freemcg.diffusion.kinds.sigma import SigmaPrediction
from freemcg.diffusion.network import Network


class Consistency(SigmaPrediction):
    """`f(x; s) = c_skip x + c_out F(x / sqrt(s^2 + d^2); 250 ln(s))`, with `d` the scheduler's `sigma_data`.

    The boundary condition gives `c_skip = d^2 / ((s - s_min)^2 + d^2)`, `c_out = d (s - s_min) / sqrt(s^2 + d^2)`, as
    `CMStochasticIterativeScheduler` computes them (Appendix C). The answer is a sample, and not the mean
    `E[x | x_sigma]`. So particles differ more than those of a denoiser, and error bars were not calibrated for them.

    Raises:
        ValueError: the range of sigma is none.
    """

    def __init__(self, network: Network, scheduler: Any) -> None:
        config = scheduler.config
        self.scheduler, self.sigma_data = scheduler, float(config.sigma_data)
        super().__init__(network, f"consistency {self.sigma_data:g}", config.sigma_min, config.sigma_max)

    def denoised(self, x: Tensor, sigma: float) -> Tensor:
        """`f(x; sigma)`."""
        c_skip, c_out = self.scheduler.get_scalings_for_boundary_condition(sigma)
        scaled = x / math.sqrt(sigma**2 + self.sigma_data**2)
        clean: Tensor = c_skip * x + c_out * self.network(scaled, float(self.scheduler.sigma_to_t(sigma)))
        return clean
