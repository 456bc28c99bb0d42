"""Networks of flow matching (Lipman et al. 2023; Liu et al. 2023)."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from freemcg.diffusion.kinds.sigma import SigmaPrediction
from freemcg.diffusion.network import Network, read_config


class Flow(SigmaPrediction):
    """A network that answers the velocity `eps - x` at `x_s = (1 - s) x + s eps`, called with `s` times the timesteps.

    So `E[x | x_s] = x_s - s v(x_s)`. It takes every `s` in (0, 1). The noise-to-signal ratio is `sigma = s / (1 - s)`,
    and `x_s = (1 - s) x_sigma`. The scheduler is `FlowMatchEulerDiscreteScheduler`, whose shift of the levels concerns
    only its own steps.
    """

    def __init__(self, network: Network, scheduler: Any) -> None:
        self.steps = int(read_config(scheduler, "num_train_timesteps", 1000))
        super().__init__(network, f"flow {self.steps}", 0, math.inf)

    def denoised(self, x: Tensor, sigma: float) -> Tensor:
        """`E[x | x_s]` at `s = sigma / (1 + sigma)`."""
        s = sigma / (1 + sigma)
        noisy = (1 - s) * x
        return noisy - s * self.network(noisy, s * self.steps)
