"""Deviations from the mean, scaled so that their Gram matrix is a covariance."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from freemcg.messages.errors import InvalidValue


def anomalies(rows: Tensor) -> Tensor:
    """`A = (rows - mean) / sqrt(K - 1)` for rows `(K, D)`, so that `A.T @ A` is the sample covariance.

    Raises:
        ValueError: there are fewer than two rows, which have no covariance.
    """
    count = len(rows)
    if count < 2:
        raise InvalidValue(f"an ensemble needs at least 2 particles, got {count}")
    return (rows - rows.mean(dim=0)) / math.sqrt(count - 1)


def weighted_anomalies(scores: Tensor, weights: Tensor) -> Tensor:
    """`Y^T v`: the anomalies of scores `(K, S)` along the objective's gradient `weights` `(S,)`, as `(K,)`."""
    return torch.mv(anomalies(scores), weights)
