"""A network of another precision than the images gets them in its own, and its map is that of the exact network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import baselines

IMAGES = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(5))


def network(dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 3)).eval().to(dtype)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float16, 2e-2), (torch.bfloat16, 1e-1), (torch.float64, 1e-5)])
@pytest.mark.parametrize("method", ["gradient", "integrated_gradients", "guided_ig"])
def test_a_network_of_another_precision_is_explained(method, dtype, error):
    exact = baselines.create(method, network(torch.float32)).attribute(IMAGES, 1)
    found = baselines.create(method, network(dtype)).attribute(IMAGES, 1)
    assert found.dtype == torch.float32
    assert (found - exact).norm() <= error * exact.norm() * (10 if method == "guided_ig" else 1)
