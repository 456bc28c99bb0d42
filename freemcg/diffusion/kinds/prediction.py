"""The contract of a kind of diffusion model."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from freemcg.diffusion.network import Network
from freemcg.identity.network import identity


class Prediction(ABC):
    """How one kind of model predicts the clean image in a noisy one. `Denoiser` knows nothing else of a model.

    Noisy images are `x_t = sqrt(abar_t) x + sqrt(1 - abar_t) eps`, with `x` in [-1, 1] and `eps` of unit variance.

    Attributes:
        network: the network, which is called at one time for all images.
        alphas_cumprod: the schedule `abar_t`, `(T,)` float64, falling.
        kind: what the network predicts, and all that its predictions depend on beside weights and schedule.
        schedule: a digest of the schedule (`freemcg.diffusion.kinds.schedule`).
    """

    def __init__(self, network: Network, alphas_cumprod: Tensor, kind: str, schedule: str) -> None:
        self.network, self.alphas_cumprod, self.kind, self.schedule = network, alphas_cumprod, kind, schedule

    @abstractmethod
    def clean(self, x_t: Tensor, t: int) -> Tensor:
        """`E[x_0 | x_t]` of noisy images `(N, C, H, W)`, in [-1, 1] and not clipped. It costs one pass an image."""

    @property
    def identity(self) -> str:
        """The network's identity (`freemcg.identity.network`), the kind, the digest of the schedule, the condition."""
        parts = (identity(self.network.module), self.kind, self.schedule, self.network.condition)
        return ":".join(str(part) for part in parts if part is not None)
