"""SmoothGrad (Smilkov et al. 2017, arXiv:1706.03825) and two other moments of the same noisy gradients."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from baselines.whitebox import WhiteBoxMethod
from freemcg.diffusion.noise import generator_for
from freemcg.messages.errors import InvalidValue


class NoisyGradients(WhiteBoxMethod):
    """A moment of `grad f(x + s e)` over standard normal `e`.

    Args:
        noise: `s`. It is a fraction of each image's range `max(x) - min(x)` if `relative`, else in pixel values. Noisy
            images are not clipped to [0, 1], since that would bias the mean.
        samples: the number of noisy copies.
        seed: the seed of the noise. It depends on the number of the sample, and is the same for every image.
        model, output, batch_size, progress: as `WhiteBoxMethod`.

    The defaults are those of the `saliency` package. Bordt et al. 2023 use `noise=0.02, relative=False` on MNIST.
    """

    cost = "samples"

    @classmethod
    def within(cls, cost: int) -> dict[str, Any]:
        """See `WhiteBoxMethod.within`."""
        return {"samples": cost}

    def __init__(
        self,
        model: nn.Module,
        *,
        noise: float = 0.15,
        relative: bool = True,
        samples: int = 25,
        seed: int = 0,
        output: str = "logit",
        batch_size: int = 64,
        progress: bool = False,
    ) -> None:
        super().__init__(model, output=output, batch_size=batch_size, progress=progress)
        if noise < 0:
            raise InvalidValue(f"noise must be >= 0, got {noise}")
        if samples < 1:
            raise InvalidValue(f"samples must be >= 1, got {samples}")
        self.noise = noise
        self.relative = relative
        self.samples = samples
        self.seed = seed

    def _attribute(self, images: Tensor, targets: Tensor) -> Tensor:
        scale = torch.full_like(images[:, :1, :1, :1], self.noise)
        if self.relative:
            scale = self.noise * (images.amax(dim=(1, 2, 3), keepdim=True) - images.amin(dim=(1, 2, 3), keepdim=True))
        mean, spread = torch.zeros_like(images), torch.zeros_like(images)
        for sample in range(self.samples):  # Welford's updates: the spread loses nothing to a large mean
            noise = torch.randn(images.shape[1:], generator=generator_for(self.seed, "smoothgrad", sample))
            slope = self.gradient(images + scale * noise.to(images), targets)
            change = slope - mean
            mean = mean + change / (sample + 1)
            spread = spread + change * (slope - mean)
        return self._moment(mean, spread / self.samples)

    @abstractmethod
    def _moment(self, mean: Tensor, variance: Tensor) -> Tensor: ...


class SmoothGrad(NoisyGradients):
    """The mean of noisy gradients. It is signed. Its arguments are those of `NoisyGradients`."""

    def _moment(self, mean: Tensor, variance: Tensor) -> Tensor:
        return mean


class SmoothGradSquared(NoisyGradients):
    """The mean of the squares of noisy gradients (Hooker et al. 2019, arXiv:1806.10758).

    It is never negative. Its arguments are those of `NoisyGradients`.
    """

    def _moment(self, mean: Tensor, variance: Tensor) -> Tensor:
        return mean**2 + variance


class VarGrad(NoisyGradients):
    """The variance of noisy gradients over the samples drawn (Adebayo et al. 2018, arXiv:1810.03307).

    It is never negative. Its arguments are those of `NoisyGradients`.
    """

    def _moment(self, mean: Tensor, variance: Tensor) -> Tensor:
        return variance
