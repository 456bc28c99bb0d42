"""The settings that a method chooses for a cost spend no more than that."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import nn

from baselines import METHODS, create, settings_within
from freemcg import BlackBox
from freemcg.blackbox.local.white_box import WhiteBox

LESS = {"grad_cam", "gradient", "input_x_gradient", "occlusion", "leverage_shap", "adversarial_gradient_integration"}
"""Their cost is fixed, goes by whole grids of windows, ends with all 16 coalitions, or ends at the class reached."""
ALONE = [
    name
    for name, method in METHODS.items()
    if all(each.default is not each.empty or each.name in ("model", "black_box", "queries")
           for each in inspect.signature(method).parameters.values())
]  # fmt: skip


@pytest.mark.parametrize("cost", [5, 32, 77])
@pytest.mark.parametrize("name", ALONE)
def test_no_more_is_spent_than_the_cost(name, cost):
    cost = max(cost, METHODS[name].least)
    torch.manual_seed(2)
    layers = nn.Conv2d(1, 2, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(128, 3)
    black_box = BlackBox(nn.Sequential(*layers).eval())
    model = WhiteBox(black_box) if METHODS[name].needs_weights else black_box
    create(name, model, **settings_within(name, cost)).attribute(torch.rand(1, 1, 8, 8), 1)
    spent = model.gradients if METHODS[name].needs_weights else black_box.queries
    assert 0 < spent <= cost
    assert name in LESS or spent > cost / 2
