"""Noise levels, as a timestep, a fraction of the schedule or a ratio of noise to signal."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from freemcg.messages.errors import InvalidValue


class Levels:
    """The levels of a schedule.

    Args:
        alphas_cumprod: the schedule `abar_t`, `(T,)` float64, falling.

    Attributes:
        timesteps: its length `T`.
    """

    def __init__(self, alphas_cumprod: Tensor) -> None:
        self.alphas_cumprod = alphas_cumprod
        self.timesteps = len(alphas_cumprod)

    def sigma(self, t: int) -> float:
        """Noise-to-signal ratio `sqrt((1 - abar_t) / abar_t)` at timestep `t`, for images in [-1, 1]."""
        abar = self.alphas_cumprod[t].item()
        return math.sqrt((1 - abar) / abar)

    def timestep(self, fraction: float | None = None, *, sigma: float | None = None) -> int:
        """The timestep of a noise level, given as a fraction of the schedule in (0, 1], or as `sigma`.

        Raises:
            ValueError: not exactly one of the two is given, or it is out of range.
        """
        if (fraction is None) == (sigma is None):
            raise InvalidValue(
                f"give the noise level as a fraction or as sigma, not both; got fraction={fraction}, sigma={sigma}"
            )
        if sigma is not None:
            ratios = ((1 - self.alphas_cumprod) / self.alphas_cumprod).sqrt()
            if not ratios[0] <= sigma <= ratios[-1]:
                raise InvalidValue(f"sigma must lie in [{ratios[0]:.4g}, {ratios[-1]:.4g}], got {sigma}")
            return int((ratios.log() - torch.tensor(sigma).log()).abs().argmin())
        assert fraction is not None
        if not 0 < fraction <= 1:
            raise InvalidValue(f"a noise level is a fraction of the schedule in (0, 1], got {fraction}")
        return min(self.timesteps - 1, max(1, round(fraction * self.timesteps)))
