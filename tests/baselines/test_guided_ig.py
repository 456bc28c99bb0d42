from __future__ import annotations

import pytest
import torch
from torch import nn

import baselines


def mean_residual(activation, steps, max_dist):
    """The mean distance of the sum of a map from `f(x) - f(base)`, for four images and a network of three layers."""
    torch.manual_seed(1)
    layers = nn.Linear(16, 32), activation(), nn.Linear(32, 32), activation(), nn.Linear(32, 3)
    model = nn.Sequential(nn.Flatten(), *layers).double().eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.mul_(3)
    images = torch.rand(4, 1, 4, 4, dtype=torch.double)
    method = baselines.create("guided_ig", model, steps=steps, max_dist=max_dist)
    risen = model(images)[:, 1] - model(torch.zeros_like(images))[:, 1]
    return (method.attribute(images, 1).sum((1, 2, 3)) - risen).abs().mean().item()


@pytest.mark.parametrize("max_dist", [0.02, 1.0])
@pytest.mark.parametrize("activation", [nn.Tanh, nn.Softplus, nn.SiLU])
def test_the_error_falls_as_one_over_steps_where_the_gradient_is_continuous(activation, max_dist):
    coarse, fine = (mean_residual(activation, steps, max_dist) for steps in (100, 400))
    assert 3.4 < coarse / fine < 4.6


@pytest.mark.parametrize("max_dist", [0.02, 1.0])
def test_with_relu_the_error_need_not_fall_so(max_dist):
    """The docstring of `GuidedIG` promises nothing about it."""
    coarse, fine = (mean_residual(nn.ReLU, steps, max_dist) for steps in (100, 400))
    assert coarse / fine < 2
