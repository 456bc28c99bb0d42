"""The result of an attribution: a signed map with error bars, and the contributions that follow from it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
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

    A map says which change of the pixels moves the objective. `contribution` says how much their present values add.

    Attributes:
        values: the signed map, `(C, H, W)`: positive where more light raises the objective. In a contribution: positive
            where the pixel as it is adds to the objective.
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
            holds the `disagreement` of the answers to the image. With a latent model, it holds what the `autoencoder`
            loses; see `freemcg.tasks.restored`.
        error_parts: the parts of the squared error, the fields of `freemcg.ensemble.ErrorParts`; `None` if the estimate
            cannot tell them.
        projected_gradient: the gradient projected on the manifold and not multiplied by its covariance, `(C, H, W)` in
            `objective / pixel`, from the same answers; see `freemcg.ensemble.projected_gradient`. `None` in a
            contribution, and in a result that an older version saved.
        projected_error: the standard error of each of its values, `(C, H, W)`.
        baseline: `None` in a map. In a contribution: the image that stands for nothing to see, `(C, H, W)`.
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
    projected_gradient: Tensor | None = None
    projected_error: Tensor | None = None
    baseline: Tensor | None = None

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

    @property
    def error_shares(self) -> tuple[float, float] | None:
        """The shares of the squared error that too few particles and too few queries make; `None` if unknown."""
        if self.error_parts is None:
            return None
        parts = ErrorParts(**self.error_parts)
        total, sampling = parts.error(parts.asked), parts.sampling
        return None if not math.isfinite(total) or total <= 0 else (sampling / total, 1 - sampling / total)

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

    def contribution(self, baseline: float | Tensor | None = None) -> Attribution:
        """How much each pixel adds to the objective by being as it is and not as in `baseline`. It costs no query.

        It is the projected gradient times `image - baseline`, in units of the objective. Its error is the gradient's
        times `|image - baseline|`, since that factor is known. For a score that is linear along the manifold the values
        add up to `objective(image) - objective(baseline)`, if `image - baseline` lies in the axes asked along. (For
        Integrated Gradients, Sundararajan et al. 2017 call this completeness.) What lies off the manifold adds nothing.

        Whatever the estimate, the factor is `projected_gradient` and not `values`. All values but those of
        `"regression"` are multiplied by the covariance, in `objective * pixel`. Their product with a difference of
        pixels would have no meaning in units of the objective, and would not add up.

        Args:
            baseline: what stands for nothing to see, in [0, 1]: a brightness, or a tensor that fits the image, such as
                `(C, H, W)` or `(C, 1, 1)`. `None` takes the image's mean colour.

        Returns:
            The result with contributions as its `values`. It can be drawn, saved and tested for significance likewise.

        Raises:
            ValueError: the baseline does not fit, or the result holds no projected gradient.
        """
        if self.projected_gradient is None or self.projected_error is None:
            what = "an older version saved it" if self.baseline is None else "it is a contribution already"
            raise InvalidValue(f"the result holds no projected gradient, since {what}; explain the image again")
        base = self._baseline(baseline)
        difference = self.image - base
        error = torch.where(difference == 0, 0.0, self.projected_error * difference.abs())  # it may be infinite
        return replace(
            self,
            values=self.projected_gradient * difference,
            standard_error=error,
            error_parts=None,
            projected_gradient=None,
            projected_error=None,
            baseline=base,
        )

    def _baseline(self, baseline: float | Tensor | None) -> Tensor:
        if baseline is None:
            return self.image.mean(dim=(1, 2), keepdim=True).expand_as(self.image)
        try:
            given = torch.as_tensor(baseline).to(self.image)
            base = given.reshape(given.shape[-3:]).expand_as(self.image)
        except (RuntimeError, TypeError, ValueError):
            got = tuple(baseline.shape) if isinstance(baseline, Tensor) else repr(baseline)
            raise InvalidValue(
                f"baseline must be a brightness or a tensor that fits {tuple(self.image.shape)}, got {got}"
            ) from None
        if not ((base >= 0) & (base <= 1)).all():
            raise InvalidValue(f"baseline must be in [0, 1], got {base.min().item():g} to {base.max().item():g}")
        return base

    def plot(self) -> Figure:
        """A figure of the image and the attribution over it."""
        from freemcg.show.figures import plot_attribution  # noqa: PLC0415  (matplotlib only if something is drawn)

        return plot_attribution(self)
