"""The one estimator behind both tasks: the gradient of an objective on the manifold around an image, from queries.

image -> noisy copies -> denoised particles (free) -> query points -> black box (paid) -> gradient and its error
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from freemcg.blackbox import QueryBudgetExceeded
from freemcg.diffusion.denoiser import Denoiser
from freemcg.diffusion.noise import particle_noise
from freemcg.ensemble import (
    ErrorParts,
    Estimate,
    LinearModel,
    PrincipalAxes,
    control_variate,
    cross_covariance,
    linear_model,
    per_particle,
    principal_axes,
    projected_gradient,
    regression,
    sigma_points,
)
from freemcg.gradient.objective import Objective, gradient_in_scores

ON_AXES = {"control_variate": 2 / 3, "sigma_points": 1.0}  # share of the queries that goes to sigma points
LEAST_ON_AXES = 3
SIGNAL_FLOOR = 1e-6

Ask = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class ManifoldGradient:
    """A gradient estimated around an image.

    Attributes:
        gradient: `(C, H, W)`.
        standard_error: `(C, H, W)`, infinite if the estimate cannot tell it.
        values: the objective at each query point, `(K,)`.
        model: a linear model of the objective in the flattened image, if sigma points were queried.
        parts: the parts of the squared error, if the estimate can forecast it.
    """

    gradient: Tensor
    standard_error: Tensor
    values: Tensor
    model: LinearModel | None = None
    parts: ErrorParts | None = None

    @property
    def has_signal(self) -> bool:
        """Whether the black box answered differently for different query points."""
        return len(self.values) > 0 and bool(self.values.max() - self.values.min() > SIGNAL_FLOOR)


class Ensemble:
    """Particles around an image at one noise level, and the black box's answers about them.

    Args:
        denoiser: makes the particles.
        image: `(C, H, W)` in [0, 1].
        t: the timestep of the noise level.
        particles: `M`, the number of particles. Drawing them costs no query.
        seed, step: determine the noise of the particles.

    Attributes:
        particles: `(M, D)` in [0, 1].
        queries: the images queried so far.
    """

    def __init__(self, denoiser: Denoiser, image: Tensor, t: int, *, particles: int, seed: int, step: int = 0) -> None:
        self.denoiser, self.image, self.t, self.seed, self.step = denoiser, image, t, seed, step
        self.particles = self._draw(0, particles)
        self._points = self.particles.new_zeros(0, self.particles.shape[1])
        self._on_axes: Tensor | None = None
        self._on_particles: Tensor | None = None
        self._centre_guessed = False

    @cached_property
    def axes(self) -> PrincipalAxes:
        """The principal axes of the particles drawn before its first use. Sigma points lie along them."""
        return principal_axes(self.particles)

    @property
    def queries(self) -> int:
        """The images queried so far."""
        return _length(self._on_axes) + _length(self._on_particles) - self._centre_guessed

    def grow(self, particles: int) -> None:
        """Draw until there are `particles`. This costs no query."""
        have = len(self.particles)
        if particles > have:
            self.particles = torch.cat([self.particles, self._draw(have, particles - have)])

    def ask(self, ask: Ask, queries: int, estimate: str) -> None:
        """Query `queries` more points, chosen for `estimate`; fewer if it has no use for more.

        `control_variate` spends two of three queries on sigma points and the others on particles. `sigma_points` has at
        most one point per axis, and the centre. The other estimates query particles only.

        Raises:
            QueryBudgetExceeded: the budget ends first. The answers received until then are kept, and count.
        """
        have, wanted = _length(self._on_axes), _length(self._on_axes)
        if estimate in ON_AXES:
            wanted = queries_on_axes(estimate, self.queries + queries)
            wanted = min(wanted, 1 + len(self.axes.variances), have + queries)
        if wanted > have:
            self._ask_on_axes(ask, have, wanted)
        if estimate != "sigma_points":
            first, rest = _length(self._on_particles), queries - (wanted - have)
            if rest:
                self.grow(first + rest)
                self._ask_on_particles(ask, first, first + rest)

    def gradient(self, objective: Objective, target: int, estimate: str) -> ManifoldGradient:
        """The gradient of `objective` for class `target`, from the answers so far. This costs no query.

        Returns:
            The gradient times the local covariance, in `objective * pixel`, for `control_variate`, `sigma_points`,
            `cross_covariance` and `per_particle` (the mean of the reference program's terms). For `regression` it is
            the gradient projected on the particles' span, in `objective / pixel`.
        """
        on_axes = self._values(self._on_axes, objective, target)
        on_particles = self._values(self._on_particles, objective, target)
        asked, model = self.particles[: len(on_particles)], None
        if len(on_axes):
            model = linear_model(self.axes, self._points, on_axes)
        unit_weight = self.particles.new_ones(1)
        if estimate in ON_AXES and model is not None:
            if estimate == "control_variate":
                answer = control_variate(self.particles, model(self.particles), on_particles)
            else:
                answer = _without_error(self.axes.covariance_times(model.slope))
        elif len(on_particles) < 2:
            answer = _without_error(torch.zeros_like(self.particles[0]))
        elif estimate == "per_particle":
            assert self._on_particles is not None
            weights = gradient_in_scores(objective, self._on_particles, target)
            terms = per_particle(asked, self._on_particles, weights)
            jackknife = len(terms) / (len(terms) - 2) if len(terms) > 2 else float("inf")
            answer = Estimate(terms.mean(dim=0), jackknife * terms.std(dim=0) / len(terms) ** 0.5)
        elif estimate == "regression":
            answer = regression(asked, on_particles[:, None], unit_weight)
        else:
            answer = cross_covariance(asked, on_particles[:, None], unit_weight)
        shape = self.image.shape
        return ManifoldGradient(
            answer.gradient.reshape(shape),
            answer.standard_error.reshape(shape),
            torch.cat([on_axes, on_particles]),
            model,
            answer.parts,
        )

    def projected_gradient(self, objective: Objective, target: int) -> Estimate:
        """The gradient projected on the manifold, `(C, H, W)` in `objective / pixel`. This costs no query.

        It comes from the same answers, whatever they were asked for: along the axes asked about, or, if there is none,
        on the span of the particles asked about.
        """
        on_axes = self._values(self._on_axes, objective, target)
        on_particles = self._values(self._on_particles, objective, target)
        asked, along = self.particles[: len(on_particles)], len(on_axes) - 1
        if along > 0:
            axes = PrincipalAxes(self.axes.mean, self.axes.directions[:along], self.axes.variances[:along])
            answer = projected_gradient(axes, linear_model(axes, self._points, on_axes), asked, on_particles)
        elif len(on_particles) < 2:
            answer = _without_error(torch.zeros_like(self.particles[0]))
        else:
            answer = regression(asked, on_particles[:, None], self.particles.new_ones(1))
        shape = self.image.shape
        return Estimate(answer.gradient.reshape(shape), answer.standard_error.reshape(shape))

    def _ask_on_axes(self, ask: Ask, have: int, wanted: int) -> None:
        """Query sigma points. If the budget ends before the last, the axes with an answer come first from then on.

        If the centre has no answer, the mean of the answers around it takes its place.
        """
        points = sigma_points(self.axes, wanted)[have:].clamp(0, 1)
        try:
            answers = ask(self._images(points))
        except QueryBudgetExceeded as error:
            answered = sorted(error.answered)
            if answered:
                answers = torch.stack([error.answered[index] for index in answered])
                if have == 0 and answered[0] != 0:
                    answers, answered = torch.cat([answers.mean(dim=0, keepdim=True), answers]), [0, *answered]
                    self._centre_guessed = True
                on_axes = [have + index - 1 for index in answered if have + index > 0]
                order = _first(on_axes, after=max(have - 1, 0), of=len(self.axes.variances))
                axes = self.axes
                self.axes = PrincipalAxes(axes.mean, axes.directions[order], axes.variances[order])
                self._keep_on_axes(points[answered], answers)
            raise
        self._keep_on_axes(points, answers)

    def _keep_on_axes(self, points: Tensor, answers: Tensor) -> None:
        self._points, self._on_axes = torch.cat([self._points, points]), _joined(self._on_axes, answers)

    def _ask_on_particles(self, ask: Ask, first: int, stop: int) -> None:
        """Query particles. If the budget ends before the last, those with an answer come first from then on."""
        try:
            answers = ask(self._images(self.particles[first:stop]))
        except QueryBudgetExceeded as error:
            answered = sorted(error.answered)
            if answered:
                answers = torch.stack([error.answered[index] for index in answered])
                order = _first([first + index for index in answered], after=first, of=len(self.particles))
                self.particles, self._on_particles = self.particles[order], _joined(self._on_particles, answers)
            raise
        self._on_particles = _joined(self._on_particles, answers)

    def _draw(self, first: int, count: int) -> Tensor:
        return draw_particles(
            self.denoiser, self.image, self.t, count, seed=self.seed, step=self.step, first=first
        ).flatten(1)

    def _images(self, points: Tensor) -> Tensor:
        return points.reshape(-1, *self.image.shape)

    def _values(self, answers: Tensor | None, objective: Objective, target: int) -> Tensor:
        return self.particles.new_zeros(0) if answers is None else objective(answers, target).to(self.particles)


def queries_on_axes(estimate: str, queries: int) -> int:
    """How many of the first `queries` go to sigma points, if there are enough axes. The others go to particles."""
    share = ON_AXES.get(estimate, 0.0)
    return max(round(share * queries), min(LEAST_ON_AXES, queries)) if share else 0


def draw_particles(
    denoiser: Denoiser, image: Tensor, t: int, count: int, *, seed: int, step: int = 0, first: int = 0
) -> Tensor:
    """Denoised noisy copies of `image` `(C, H, W)` at timestep `t`, from number `first` on, `(count, C, H, W)`.

    They are in [0, 1]. Drawing them costs no query.
    """
    noise = particle_noise(seed, "particles", step, count, tuple(image.shape), first=first).to(image)
    return denoiser.denoise(denoiser.add_noise(image, t, noise), t)


def _without_error(gradient: Tensor) -> Estimate:
    return Estimate(gradient, torch.full_like(gradient, float("inf")))


def _first(chosen: list[int], *, after: int, of: int) -> list[int]:
    """The numbers `0 .. of - 1`, with the `chosen` ones moved right behind the first `after`."""
    return [*range(after), *chosen, *(index for index in range(after, of) if index not in set(chosen))]


def _length(answers: Tensor | None) -> int:
    return 0 if answers is None else len(answers)


def _joined(before: Tensor | None, more: Tensor) -> Tensor:
    return more if before is None else torch.cat([before, more])
