"""The result of an attribution: a signed map with error bars, and the contributions that follow from it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from freemcg.ensemble import ErrorParts
from freemcg.messages.errors import InvalidValue
from freemcg.results.status import Status
from freemcg.results.stored import Stored

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Attribution(Stored):
    """Where the black box looks.

    Attributes:
        values: the signed map, `(C, H, W)`: positive where more light raises the objective.
        standard_error: the error of each value, `(C, H, W)`. The true value is that of unlimited queries and
            particles, whatever the seed. The error is infinite if the estimate cannot tell it.
        image: the image explained, `(C, H, W)` in [0, 1].
        log_probabilities: the black box's answer for the image, `(num_classes,)`.
        target: the class explained.
        decision: the class that the black box decides.
        status: `complete`, `no_signal` (every query point got the same answer), `budget_exhausted`, or `model_changed`
            (the image, queried again, got another answer).
        queries: the images that it queried, including those answered from the cache.
        seconds: the time that it took.
        record: the settings, seed, identities and versions that made it. If the model did not repeat itself, it also
            holds the `disagreement` of the answers to the image.
        error_parts: the parts of the squared error, the fields of `freemcg.ensemble.ErrorParts`; `None` if the estimate
            cannot tell them.
    """

    values: Tensor
    standard_error: Tensor
    image: Tensor
    log_probabilities: Tensor
    target: int
    decision: int
    status: Status
    queries: int
    seconds: float
    record: dict[str, Any]
    error_parts: dict[str, Any] | None = None

    @property
    def signal_to_noise(self) -> float:
        """`|values| / |standard_error|` over the whole map: 0 for a map of zeros, infinite for a map without error."""
        signal, noise = self.values.norm().item(), self.standard_error.norm().item()
        return signal / noise if noise > 0 else math.inf if signal > 0 else 0.0

    @property
    def relative_error(self) -> float:
        """`|standard_error| / |values|` over the whole map, which `tolerance` bounds."""
        ratio = self.signal_to_noise
        return math.inf if ratio == 0 else 1 / ratio

    @property
    def reliability(self) -> float:
        """The squared cosine, in [0, 1], with a map of unlimited queries and particles, as the error bars predict it.

        It is `1 - |standard_error|^2 / |values|^2`, the share of the map's square that is not error. Split halves of
        the answers give the same without a formula.
        """
        return max(0.0, 1 - self.relative_error**2)

    def queries_for(self, reliability: float) -> float:
        """A forecast of all queries, for a map with a `reliability` in (0, 1), with the settings of this map.

        It is infinite if the particles are too few, however many of them are queried. Raise `particles` then.

        Raises:
            ValueError: `reliability` is out of range, the estimate has no forecast, or this map is all noise.
        """
        if not 0 < reliability < 1:
            raise InvalidValue(f"reliability must be in (0, 1), got {reliability}")
        if self.error_parts is None or self.reliability == 0:
            raise InvalidValue("this map gives no forecast; explain with more queries and estimate='control_variate'")
        parts = ErrorParts(**self.error_parts)
        signal = self.values.square().sum().item() * self.reliability
        needed = parts.asked_for(signal * (1 / reliability - 1))
        return needed if needed == math.inf else max(1, math.ceil((self.queries - 1) * needed / parts.asked)) + 1

    def significant(self, rate: float = 0.05) -> Tensor:
        """Where the value differs from zero, bool `(C, H, W)`. On average, at most `rate` of these places are false.

        Each value gets a two-sided normal test, by the step-up procedure of Benjamini and Hochberg (1995). The bound
        also holds if the values err together in one direction (Benjamini, Yekutieli 2001).
        """
        ratio = torch.where(self.values == 0, 0.0, self.values.abs() / self.standard_error)
        p_values = torch.special.erfc(ratio.double() / math.sqrt(2)).flatten()
        ordered = p_values.sort().values
        passed = ordered <= rate * torch.arange(1, len(ordered) + 1, device=ordered.device) / len(ordered)
        if not passed.any():
            return torch.zeros_like(self.values, dtype=torch.bool)
        significant: Tensor = p_values <= ordered[passed.nonzero().max()]
        return significant.reshape(self.values.shape)

    def plot(self) -> Figure:
        """A figure of the image and the attribution over it."""
        from freemcg.show.figures import plot_attribution  # noqa: PLC0415  (matplotlib only if something is drawn)

        return plot_attribution(self)
