"""Networks that take a noise level `sigma` of any size, instead of one of a schedule's timesteps."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor

from freemcg.diffusion.kinds.prediction import Prediction
from freemcg.diffusion.network import Network
from freemcg.messages.errors import InvalidValue


def levels_between(lowest: float, highest: float) -> Tensor:
    """The sigmas of DDPM's linear schedule (Ho et al. 2020) from `lowest` to `highest`, `(T,)` float64, rising.

    They are 1,000 from 0.01 to 157.4, for images in [-1, 1].

    Raises:
        ValueError: fewer than two of them lie in between.
    """
    abar = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(dim=0)
    sigmas = ((1 - abar) / abar).sqrt()
    inside = sigmas[(sigmas >= lowest) & (sigmas <= highest)]
    if len(inside) < 2:
        raise InvalidValue(
            f"the denoiser's noise must reach from a sigma to a higher one, within {sigmas[0]:.3g} .. {sigmas[-1]:.4g} "
            f"for images in [-1, 1]; got {lowest:g} .. {highest:g}"
        )
    return inside


class SigmaPrediction(Prediction):
    """A network that denoises `x_sigma = x + sigma eps`, with `x` in [-1, 1], for any sigma in a range.

    It has no schedule of its own, so the levels are those of DDPM's linear schedule in that range: `abar = 1 / (1 +
    sigma^2)`, and `x_t = sqrt(abar) x_sigma`. A noise level is a fraction of a schedule, and the defaults were chosen
    for this one. Levels spaced as Karras et al. (2022) space them would give the same fraction another sigma.
    """

    def __init__(self, network: Network, kind: str, lowest: float, highest: float) -> None:
        self.sigmas = levels_between(lowest, highest)
        super().__init__(network, 1 / (1 + self.sigmas.square()), kind, f"{lowest:g}..{highest:g}")

    def clean(self, x_t: Tensor, t: int) -> Tensor:
        """`E[x | x_sigma]` at the sigma of timestep `t`."""
        sigma = self.sigmas[t].item()
        return self.denoised(math.sqrt(1 + sigma**2) * x_t, sigma)

    @abstractmethod
    def denoised(self, x: Tensor, sigma: float) -> Tensor:
        """`E[x | x_sigma]` of noisy images `x_sigma` `(N, C, H, W)`, in [-1, 1] and not clipped."""
