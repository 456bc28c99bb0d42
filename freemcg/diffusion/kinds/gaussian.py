"""Any denoiser of Gaussian noise, such as one for photographs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from freemcg.diffusion.kinds.sigma import SigmaPrediction
from freemcg.diffusion.network import Network
from freemcg.identity.inside import networks
from freemcg.identity.mode import refuse_training
from freemcg.identity.network import identity
from freemcg.identity.source import source
from freemcg.messages.errors import InvalidValue


@dataclass(frozen=True)
class GaussianNoise:
    """The noise that a function removes, in the place of a scheduler: sigma of images in [0, 1], lowest and highest."""

    lowest: float
    highest: float


class Function(nn.Module):
    """A function `(y_s, s) -> E[y | y_s]` of images and a float, with the interface of a network."""

    def __init__(self, function: Callable[[Tensor, float], Any]) -> None:
        super().__init__()
        self.function = function
        self.training = False

    def forward(self, noisy: Tensor, times: Tensor) -> Tensor:
        """The function's answer, of any library's kind of array, at the one time of all images."""
        answer = torch.as_tensor(self.function(noisy.contiguous(), times[0].item()))
        if answer.shape != noisy.shape:
            raise InvalidValue(f"the denoiser answered {tuple(answer.shape)} for noisy images {tuple(noisy.shape)}")
        return answer


class Gaussian(SigmaPrediction):
    """A function of `y_s = y + s eps` and `s` that answers `E[y | y_s]`, with `y` in [0, 1].

    In [-1, 1] that is `x = 2 y - 1` and `sigma = 2 s`.

    Raises:
        ValueError: the range of sigma is none.
    """

    def __init__(self, network: Network, noise: GaussianNoise) -> None:
        super().__init__(network, "gaussian", 2 * noise.lowest, 2 * noise.highest)
        self.source = source(network.module.function)  # read now, since its file may be edited while this process runs

    def denoised(self, x: Tensor, sigma: float) -> Tensor:
        """`E[x | x_sigma]`."""
        for called, network in networks(self.network.module.function):
            refuse_training(network, called)
        return 2 * self.network((x + 1) / 2, sigma / 2) - 1

    @property
    def identity(self) -> str:
        """The function's identity, a digest of its source if that is the user's, the kind and the range of sigma."""
        parts = (identity(self.network.module.function), self.source, self.kind, self.schedule)
        return ":".join(part for part in parts if part)
