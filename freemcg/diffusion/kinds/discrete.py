"""Networks of a schedule in discrete time: they predict the noise, the clean image, or the velocity."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from freemcg.diffusion.kinds.prediction import Prediction
from freemcg.diffusion.kinds.schedule import schedule_digest
from freemcg.diffusion.network import Network, read_config
from freemcg.messages.errors import InvalidValue

PREDICTION_TYPES = ("epsilon", "sample", "v_prediction")


class DiscreteTime(Prediction):
    """A network that is called with the number of the timestep (Ho et al. 2020).

    It predicts the noise `eps`, the clean image `x`, or the velocity `sqrt(abar) eps - sqrt(1 - abar) x` (Salimans, Ho
    2022). The scheduler's `config.prediction_type` says which; the default is `epsilon`.

    Raises:
        ValueError: the prediction type is unknown, or the scheduler's `alphas_cumprod` is no schedule.
    """

    def __init__(self, network: Network, scheduler: Any) -> None:
        kind = str(read_config(scheduler, "prediction_type", "epsilon"))
        if kind not in PREDICTION_TYPES:
            raise InvalidValue(f"prediction_type is {kind!r}; known are {', '.join(PREDICTION_TYPES)}")
        abar = torch.as_tensor(scheduler.alphas_cumprod).double().cpu()
        if len(abar) == 0 or not ((abar >= 0) & (abar <= 1)).all():
            raise InvalidValue("alphas_cumprod of the scheduler must be one or more numbers in [0, 1]")
        abar = abar.clamp(min=1e-8)
        super().__init__(network, abar, kind, schedule_digest(scheduler, abar))

    def clean(self, x_t: Tensor, t: int) -> Tensor:
        """`E[x_0 | x_t]` from what the network predicts at timestep `t`."""
        predicted, abar = self.network(x_t, t), self.alphas_cumprod[t].item()
        if self.kind == "sample":
            return predicted
        if self.kind == "epsilon":
            return (x_t - math.sqrt(1 - abar) * predicted) / math.sqrt(abar)
        return math.sqrt(abar) * x_t - math.sqrt(1 - abar) * predicted
