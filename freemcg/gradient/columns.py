"""Particles and the objective's values about them, in the space in which a gradient is wanted, and the estimates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from freemcg.ensemble import (
    Estimate,
    LinearModel,
    PrincipalAxes,
    Rows,
    control_variate,
    cross_covariance,
    per_particle,
    projected_gradient,
    regression,
)

ON_AXES = {"control_variate": 2 / 3, "sigma_points": 1.0}  # share of the queries that goes to sigma points


@dataclass(frozen=True)
class Columns:
    """What estimates are made from: `M` particles, `K` of them queried, and sigma points.

    Attributes:
        particles: `(M, D)`.
        paid: the queried ones as they were queried, `(K, D)`. They are the first `K` particles, unless `particles` hold
            a linear model of them.
        values: the objective at `paid`, `(K,)`.
        model: a linear model of the objective through the sigma points. Without any, this and all below is `None`.
        predicted: what that model says of each particle, `(M,)`.
        axes: the axes along which the sigma points lie. There may be more.
        along: the number of sigma points beside the first.
    """

    particles: Tensor | Rows
    paid: Tensor
    values: Tensor
    model: LinearModel | None = None
    predicted: Tensor | None = None
    axes: PrincipalAxes | None = None
    along: int = 0

    def gradient(self, estimate: str) -> Estimate:
        """The gradient, `(D,)`; see `freemcg.gradient.estimator.Ensemble.gradient`. `per_particle` needs scores too."""
        if estimate in ON_AXES and self.model is not None and self.axes is not None and self.predicted is not None:
            if estimate == "control_variate":
                return control_variate(self.particles, self.predicted, self.values, paid=self.paid)
            return without_error(self.axes.covariance_times(self.model.slope))
        if len(self.values) < 2:
            return self.nothing
        weight = self.values.new_ones(1)
        return (regression if estimate == "regression" else cross_covariance)(self.paid, self.values[:, None], weight)

    def per_particle(self, scores: Tensor, weights: Tensor) -> Estimate:
        """The mean of the reference program's terms, from `scores` `(K, S)` and the gradients in them `(K, S)`."""
        terms = per_particle(self.paid, scores, weights)
        jackknife = len(terms) / (len(terms) - 2) if len(terms) > 2 else float("inf")
        return Estimate(terms.mean(dim=0), jackknife * terms.std(dim=0) / len(terms) ** 0.5)

    def projected_gradient(self) -> Estimate:
        """The gradient projected on the axes asked along, or, if there is none, on the span of the paid particles."""
        if self.axes is not None and self.model is not None and self.along > 0:
            along, axes = self.along, self.axes
            axes = PrincipalAxes(axes.mean, axes.directions[:along], axes.variances[:along])
            return projected_gradient(axes, self.model, self.paid, self.values)
        return self.gradient("regression")

    @property
    def nothing(self) -> Estimate:
        """Zeros, if there are too few answers for anything else."""
        return without_error(self.paid.new_zeros(self.particles.shape[1]))


def without_error(gradient: Tensor) -> Estimate:
    """An estimate that cannot tell its error."""
    return Estimate(gradient, torch.full_like(gradient, float("inf")))
