"""Score networks of the variance-exploding diffusion (NCSN++; Song et al. 2021)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from freemcg.diffusion.kinds.sigma import SigmaPrediction
from freemcg.diffusion.network import Network


class Score(SigmaPrediction):
    """A network that is called with sigma and answers the score, as in `ScoreSdeVePipeline`.

    Its images `y = (x + 1) / 2` are in [0, 1], and so is its `s = sigma / 2`. Tweedie's formula gives
    `E[y | y_s] = y_s + s^2 score(y_s; s)`.

    Raises:
        ValueError: the range of sigma is none.
    """

    def __init__(self, network: Network, scheduler: Any) -> None:
        super().__init__(network, "score", 2 * scheduler.config.sigma_min, 2 * scheduler.config.sigma_max)

    def denoised(self, x: Tensor, sigma: float) -> Tensor:
        """`E[x | x_sigma]`."""
        noisy, s = (x + 1) / 2, sigma / 2
        return 2 * (noisy + s**2 * self.network(noisy, s)) - 1
