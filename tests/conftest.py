"""Fixtures that several test files share: data whose denoiser is known in closed form, and a random generator."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny
import torch
from diffusers import DDPMScheduler
from plane import SHAPE, Linear
from torch import Tensor, nn

from freemcg import Denoiser


class GaussianNetwork(nn.Module):
    """The exact network for images `x0 ~ N(mean, covariance)` in the model's range, with the interface of a UNet.

    Let `r = (abar S + (1 - abar) I)^-1 (x_t - sqrt(abar) m)`. The noise is `sqrt(1 - abar) r` (minus the score,
    rescaled), and the clean image is `m + sqrt(abar) S r`.
    """

    def __init__(self, mean: Tensor, covariance: Tensor, scheduler, *, learned_variance: bool = False) -> None:
        super().__init__()
        self.mean = nn.Parameter(mean, requires_grad=False)
        self.covariance = nn.Parameter(covariance, requires_grad=False)
        self.abar = torch.as_tensor(scheduler.alphas_cumprod).double()
        self.kind = scheduler.config.prediction_type
        self.learned_variance = learned_variance
        self.config = {"in_channels": len(mean), "sample_size": tuple(mean.shape[1:])}
        self.batches: list[int] = []
        self.eval()

    def forward(self, x_t: Tensor, t: Tensor) -> SimpleNamespace:
        self.batches.append(len(x_t))
        assert (t == t[0]).all()
        assert len(t) == len(x_t)
        abar, mean = self.abar[t[0]].item(), self.mean.flatten()
        marginal = abar * self.covariance + (1 - abar) * torch.eye(len(mean), dtype=mean.dtype)
        rest = torch.linalg.solve(marginal, (x_t.flatten(1) - abar**0.5 * mean).T).T
        noise, clean = (1 - abar) ** 0.5 * rest, mean + abar**0.5 * rest @ self.covariance
        velocity = abar**0.5 * noise - (1 - abar) ** 0.5 * clean
        answer = {"epsilon": noise, "sample": clean, "v_prediction": velocity}[self.kind].reshape(x_t.shape)
        if self.learned_variance:
            answer = torch.cat([answer, torch.full_like(answer, 7)], dim=1)
        return SimpleNamespace(sample=answer)


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny, untrained diffusion pipeline of 8x8 grey images."""
    return tiny.make_pipeline(tmp_path_factory.mktemp("models") / "pipeline")


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(20250611)


@pytest.fixture
def gaussian_network() -> type[GaussianNetwork]:
    return GaussianNetwork


@pytest.fixture
def classifier() -> Linear:
    return Linear().eval()


@pytest.fixture
def denoiser(gaussian_network, rng) -> Denoiser:
    """A denoiser that is exact for 4x4 data near a plane of 6 dimensions."""
    scheduler = DDPMScheduler()
    root = 0.25 * torch.randn(16, 6, generator=rng, dtype=torch.double)
    covariance = root @ root.T + 1e-4 * torch.eye(16, dtype=torch.double)
    network = gaussian_network(torch.zeros(SHAPE, dtype=torch.double), covariance, scheduler)
    return Denoiser(network.float(), scheduler)


@pytest.fixture
def image(rng) -> Tensor:
    return (0.5 + 0.1 * torch.randn(SHAPE, generator=rng)).clamp(0, 1)


@pytest.fixture
def images(rng: torch.Generator) -> Tensor:
    """Five small RGB images in [0, 1], taller than wide."""
    return torch.rand(5, 3, 6, 4, generator=rng)
