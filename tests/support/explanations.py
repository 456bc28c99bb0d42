"""Results with known numbers, made without any model."""

from __future__ import annotations

import torch

from freemcg import Attribution, Counterfactual

NAMES = ["cat", "dog", "owl"]


def make_attribution(channels=1, **changes):
    values = torch.zeros(channels, 4, 6)
    values[:, 0, 0], values[:, 1, 2], values[:, 2, 3] = 0.5 / channels, -2.0 / channels, 1.0 / channels
    error = torch.full((channels, 4, 6), 0.3 / channels)
    fields = {
        "values": values,
        "standard_error": error,
        "image": torch.linspace(0, 1, channels * 24).reshape(channels, 4, 6),
        "log_probabilities": torch.tensor([0.7, 0.2, 0.1]).log(),
        "target": 2,
        "decision": 0,
        "status": "budget_exhausted",
        "queries": 31,
        "seconds": 1.5,
        "record": {"class_names": NAMES, "settings": {"objective": "log_odds", "estimate": "sigma_points"}},
    }
    return Attribution(**{**fields, **changes})


def make_counterfactual(channels=1, steps=20, **changes):
    original = torch.full((channels, 4, 6), 0.5)
    image = original.clone()
    image[:, 1, 2], image[:, 3, 5] = 0.9, 0.3
    fields = {
        "image": image,
        "original": original,
        "path": torch.linspace(0, 1, steps).reshape(-1, 1, 1, 1).expand(-1, channels, 4, 6),
        "log_probabilities": torch.tensor([0.1, 0.8, 0.1]).log(),
        "original_log_probabilities": torch.tensor([0.6, 0.3, 0.1]).log(),
        "target": 1,
        "decision": 1,
        "original_decision": 0,
        "l1": 0.025,
        "l2": 0.45,
        "realism": 0.9,
        "status": "complete",
        "queries": 105,
        "seconds": 4.0,
        "record": {"class_names": NAMES},
    }
    return Counterfactual(**{**fields, **changes})
