"""Which kind of diffusion model a network is, by the scheduler that comes with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from freemcg.diffusion.kinds.consistency import Consistency
from freemcg.diffusion.kinds.discrete import DiscreteTime
from freemcg.diffusion.kinds.edm import Edm
from freemcg.diffusion.kinds.flow import Flow
from freemcg.diffusion.kinds.gaussian import Gaussian, GaussianNoise
from freemcg.diffusion.kinds.prediction import Prediction
from freemcg.diffusion.kinds.score import Score
from freemcg.diffusion.network import Network
from freemcg.messages.errors import InvalidType

BY_SCHEDULER: dict[str, Callable[[Network, Any], Prediction]] = {
    "EDMEulerScheduler": Edm,
    "EDMDPMSolverMultistepScheduler": Edm,
    "ScoreSdeVeScheduler": Score,
    "CMStochasticIterativeScheduler": Consistency,
    "FlowMatchEulerDiscreteScheduler": Flow,
}
"""The kinds whose scheduler has no `alphas_cumprod`, by the name of its class."""


def prediction_for(network: Network, scheduler: Any) -> Prediction:
    """The prediction of a network whose noise is that of `scheduler`.

    Raises:
        TypeError: the scheduler is of an unknown class and has no `alphas_cumprod`.
    """
    if hasattr(scheduler, "alphas_cumprod"):
        return DiscreteTime(network, scheduler)
    if isinstance(scheduler, GaussianNoise):
        return Gaussian(network, scheduler)
    for each in type(scheduler).__mro__:
        if each.__name__ in BY_SCHEDULER:
            return BY_SCHEDULER[each.__name__](network, scheduler)
    raise InvalidType(
        f"{type(scheduler).__name__} has no alphas_cumprod; take a discrete-time scheduler such as DDPMScheduler, or "
        f"one of {', '.join(BY_SCHEDULER)}"
    )
