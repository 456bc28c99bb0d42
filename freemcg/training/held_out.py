"""The loss on held-out images at each noise level, with the same noise at every check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from freemcg.diffusion.noise import particle_noise
from freemcg.training.data import ImageSet

LEVELS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7)
Loss = Callable[[nn.Module, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class HeldOut:
    """A measure of a network. Between two checks, only the network differs.

    Attributes:
        images: the images that training never sees.
        loss: `(network, images (B, C, H, W) in [0, 1], noise (B, C, H, W), timesteps (B,)) -> scalar`, a mean.
        timesteps: the timestep of each noise level, which is a fraction of the schedule.
        seed: the seed of the noise. Each level and each image has its own draw.
        batch_size: the images measured at a time.
    """

    images: ImageSet
    loss: Loss
    timesteps: dict[float, int]
    seed: int
    batch_size: int = 64

    @torch.no_grad()
    def __call__(self, network: nn.Module) -> dict[str, float]:
        """The mean loss over all held-out images at each noise level."""
        return {str(level): self._loss_at(level, network) for level in self.timesteps}

    def _loss_at(self, level: float, network: nn.Module) -> float:
        device = next(network.parameters()).device
        total = 0.0
        for indices in torch.arange(len(self.images)).split(self.batch_size):
            batch, _ = self.images.batch(indices)
            purpose, first = f"held out/{level}", int(indices[0])
            noise = particle_noise(self.seed, purpose, 0, len(batch), tuple(batch.shape[1:]), first=first)
            t = torch.full((len(batch),), self.timesteps[level], device=device)
            total += self.loss(network, batch.to(device), noise.to(device), t).item() * len(batch)
        return total / len(self.images)
