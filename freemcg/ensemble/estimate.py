"""What every estimator of this package answers."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Estimate:
    """A gradient `(D,)` and the standard error of each of its entries `(D,)`: `score * x`, or `score / x`."""

    gradient: Tensor
    standard_error: Tensor
