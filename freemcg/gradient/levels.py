"""Ensembles around one image at several noise levels. They are queried together, and their gradients are averaged."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from freemcg.diffusion.denoiser import Denoiser
from freemcg.ensemble import ErrorParts, Estimate
from freemcg.gradient.columns import ON_AXES
from freemcg.gradient.directions import directions_around
from freemcg.gradient.estimator import Ask, Ensemble, ManifoldGradient
from freemcg.gradient.objective import Objective
from freemcg.settings import Settings


class Ensembles:
    """The particles of one image at each level of `settings.noise`, and the answers about them.

    The image is given by the `point` that stands for it; see `freemcg.gradient.estimator.Ensemble`.

    Drawing particles costs no query. Nor does any computation from the answers, so the particles serve every class,
    every pair of classes and every objective.

    Attributes:
        settings: with nothing left open.
    """

    def __init__(self, denoiser: Denoiser, point: Tensor, settings: Settings) -> None:
        counted = None
        if settings.left_open:
            directions, counted = directions_around(denoiser, point, seed=settings.seed)
            settings = settings.settled(directions)
        self.settings = settings
        particles = unpaid_particles(settings)
        levels = [denoiser.timestep(level) for level in settings.noise]
        if counted is not None and counted.t in levels and _begins(counted, particles):
            counted.grow(particles)
            self.ensembles = [counted]
        else:
            self.ensembles = [
                Ensemble(denoiser, point, t, particles=particles, seed=settings.seed, step=step)
                for step, t in enumerate(levels)
            ]

    @property
    def queries(self) -> int:
        """The images queried so far."""
        return sum(ensemble.queries for ensemble in self.ensembles)

    @property
    def particles(self) -> int:
        """The number of particles drawn at each level."""
        return len(self.ensembles[0].particles)

    def ask(self, ask: Ask, queries: int) -> None:
        """Query at most `queries` more points, the same number at each level.

        Raises:
            QueryBudgetExceeded: the budget ends first. The answers received until then are kept.
        """
        for ensemble in self.ensembles:
            ensemble.ask(ask, queries // len(self.ensembles), self.settings.estimate)

    def grow(self) -> None:
        """Double the particles of each level. This costs no query."""
        for ensemble in self.ensembles:
            ensemble.grow(2 * len(ensemble.particles))

    def map(self, objective: Objective, target: int) -> ManifoldGradient:
        """The mean gradient in pixels over the queried levels, whose errors are independent. This costs no query."""
        found = [ensemble.map(objective, target, self.settings.estimate) for ensemble in self._asked]
        return ManifoldGradient(
            *_mean(found),
            torch.cat([each.values for each in found]),
            parts=_mean_parts([each.parts for each in found]),
        )

    def projected_gradient(self, objective: Objective, target: int) -> Estimate:
        """The mean projected gradient over the queried levels, in `objective / pixel`. This costs no query."""
        return Estimate(*_mean([ensemble.projected_gradient(objective, target) for ensemble in self._asked]))

    @property
    def _asked(self) -> list[Ensemble]:
        return [ensemble for ensemble in self.ensembles if ensemble.queries] or self.ensembles


def unpaid_particles(settings: Settings) -> int:
    """The particles drawn at each level before the first query. Without sigma points, only queried ones are used."""
    return settings.particles if settings.estimate in ON_AXES else 0


def _begins(counted: Ensemble, particles: int) -> bool:
    """Whether so many particles, drawn at once, would begin with the counted ones, and in the same calls.

    The last digits of a particle may depend on the call that it is denoised in.
    """
    drawn = len(counted.particles)
    return drawn <= particles and drawn % counted.denoiser.at_once == 0


def _mean(levels: Sequence[ManifoldGradient] | Sequence[Estimate]) -> tuple[Tensor, Tensor]:
    """The mean of gradients and its standard error."""
    gradient = torch.stack([each.gradient for each in levels]).mean(dim=0)
    return gradient, torch.stack([each.standard_error.square() for each in levels]).sum(dim=0).sqrt() / len(levels)


def _mean_parts(parts: Sequence[ErrorParts | None]) -> ErrorParts | None:
    known = [each for each in parts if each is not None]
    if len(known) < len(parts):
        return None
    square = len(known) ** 2
    return ErrorParts(
        math.fsum(each.sampling for each in known) / square,
        math.fsum(each.residual for each in known) / square,
        math.fsum(each.misfit for each in known) / square,
        sum(each.asked for each in known),
    )
