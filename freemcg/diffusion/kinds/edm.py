"""Networks with the preconditioning of EDM (Karras et al. 2022)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from freemcg.diffusion.kinds.sigma import SigmaPrediction
from freemcg.diffusion.network import Network, read_config
from freemcg.messages.errors import InvalidValue

PREDICTION_TYPES = ("epsilon", "v_prediction")


class Edm(SigmaPrediction):
    """`D(x; s) = c_skip x + c_out F(c_in x; ln(s) / 4)`, as the methods of `EDMEulerScheduler` compute it (Table 1).

    With `d` the scheduler's `sigma_data`: `c_skip = d^2 / (s^2 + d^2)`, `c_out = s d / sqrt(s^2 + d^2)`,
    `c_in = 1 / sqrt(s^2 + d^2)`. For `v_prediction`, `c_out` is negative.

    Raises:
        ValueError: the prediction type is unknown, or the range of sigma is none.
    """

    def __init__(self, network: Network, scheduler: Any) -> None:
        config = scheduler.config
        predicted = read_config(scheduler, "prediction_type", "epsilon")
        if predicted not in PREDICTION_TYPES:
            raise InvalidValue(f"prediction_type is {predicted!r}; known are {', '.join(PREDICTION_TYPES)}")
        self.scheduler = scheduler
        super().__init__(network, f"edm {predicted} {config.sigma_data:g}", config.sigma_min, config.sigma_max)

    def denoised(self, x: Tensor, sigma: float) -> Tensor:
        """`D(x; sigma)`."""
        time = self.scheduler.precondition_noise(sigma).item()
        answer = self.network(self.scheduler.precondition_inputs(x, sigma), time)
        clean: Tensor = self.scheduler.precondition_outputs(x, answer, sigma)
        return clean
