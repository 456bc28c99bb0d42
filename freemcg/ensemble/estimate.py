"""What every estimator of this package answers, and what more queries would make of its error."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class ErrorParts:
    """Where the squared error of a map comes from, each summed over the pixels.

    Attributes:
        sampling: of the unpaid particles; falls with their number, and not with queries.
        residual: the variance of what the `asked` particles say; falls as one over their number.
        misfit: the square of what there is to correct. A correction is worth no more than this, so where `residual` is
            larger, this is the error.
        asked: paid particles.
    """

    sampling: float
    residual: float
    misfit: float
    asked: int

    def error(self, asked: float) -> float:
        """The squared error of the map, were `asked` particles paid for."""
        residual = math.inf if asked <= 0 else self.residual * self.asked / asked
        if self.misfit == math.inf:
            return self.sampling + residual
        if residual == math.inf:
            return self.sampling + self.misfit
        total = residual + self.misfit
        return self.sampling + (residual * self.misfit / total if total > 0 else 0.0)

    def asked_for(self, error: float) -> float:
        """Paid particles that bring the squared error down to `error`: 0 where none is needed, infinite if none can."""
        room = error - self.sampling
        if room >= self.misfit:
            return 0.0
        if room <= 0:
            return math.inf
        wanted = room if self.misfit == math.inf else room * self.misfit / (self.misfit - room)
        return self.asked * self.residual / wanted


@dataclass(frozen=True)
class Estimate:
    """A gradient `(D,)` and the standard error of each of its entries `(D,)`: `score * x`, or `score / x`.

    The standard error is infinite where the estimator cannot tell it; `parts` is `None` where it has no forecast.
    """

    gradient: Tensor
    standard_error: Tensor
    parts: ErrorParts | None = None
