"""The result of every estimator of this package, and a forecast of its error with more queries."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class ErrorParts:
    """The parts of the squared error of a map, each summed over the pixels.

    Attributes:
        sampling: the part of the unpaid particles. It falls with their number, and not with queries.
        residual: the variance of the correction from the `asked` particles. It falls as one over their number.
        misfit: the square of what there is to correct. A correction gains no more than this. So if `residual` is much
            larger, this is the error that remains.
        asked: the number of paid particles.
    """

    sampling: float
    residual: float
    misfit: float
    asked: int

    def error(self, asked: float) -> float:
        """The squared error that the map would have with `asked` paid particles."""
        residual = math.inf if asked <= 0 else self.residual * self.asked / asked
        if self.misfit == math.inf:
            return self.sampling + residual
        if residual == math.inf:
            return self.sampling + self.misfit
        total = residual + self.misfit
        return self.sampling + (residual * self.misfit / total if total > 0 else 0.0)

    def asked_for(self, error: float) -> float:
        """Paid particles that bring the squared error to `error`: 0 if none is needed, infinite if none suffice."""
        room = error - self.sampling
        if room >= self.misfit:
            return 0.0
        if room <= 0:
            return math.inf
        wanted = room if self.misfit == math.inf else room * self.misfit / (self.misfit - room)
        return self.asked * self.residual / wanted


@dataclass(frozen=True)
class Estimate:
    """A gradient `(D,)` and the standard error of each of its entries `(D,)`, in `score * x` or `score / x`.

    The standard error is infinite if the estimator cannot tell it. `parts` is `None` if there is no forecast.
    """

    gradient: Tensor
    standard_error: Tensor
    parts: ErrorParts | None = None
