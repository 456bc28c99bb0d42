"""The one estimator behind both tasks: the gradient of an objective on the manifold around an image, from queries.

image -> noisy copies -> denoised particles (free) -> query points -> black box (paid) -> gradient and its error

All but the query points stays in the denoiser's space, where a point stands for an image. A search follows the gradient
in that space. A map is the gradient in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from freemcg.blackbox import QueryBudgetExceeded
from freemcg.diffusion.denoiser import Denoiser
from freemcg.diffusion.particles import draw_points
from freemcg.ensemble import (
    ErrorParts,
    Estimate,
    LinearModel,
    PrincipalAxes,
    Pushforward,
    linear_model,
    principal_axes,
    sigma_points,
)
from freemcg.gradient.columns import ON_AXES, Columns
from freemcg.gradient.objective import Objective, gradient_in_scores

LEAST_ON_AXES = 3
SIGNAL_FLOOR = 1e-6

Ask = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class ManifoldGradient:
    """A gradient estimated around a point of the denoiser's space.

    Attributes:
        gradient: the shape of the point, or `(C, H, W)` in pixels.
        standard_error: the same shape, infinite if the estimate cannot tell it.
        values: the objective at each query point, `(K,)`.
        model: a linear model of the objective in the flattened point, if sigma points were queried.
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
    """Particles around a point at one noise level, and the black box's answers about them.

    Args:
        denoiser: makes the particles, and decodes those that are queried.
        point: stands for the image: `denoiser.encode(image[None])[0]`. For a denoiser of pixels it is the image.
        t: the timestep of the noise level.
        particles: `M`, the number of particles. Drawing them costs no query.
        seed, step: determine the noise of the particles.

    Attributes:
        particles: `(M, D)`, flattened points.
        queries: the images queried so far.
    """

    def __init__(self, denoiser: Denoiser, point: Tensor, t: int, *, particles: int, seed: int, step: int = 0) -> None:
        self.denoiser, self.point, self.t, self.seed, self.step = denoiser, point, t, seed, step
        self.particles = self._draw(0, particles)
        self._points = self.particles.new_zeros(0, self.particles.shape[1])
        self._image_shape = denoiser.space.image_shape(tuple(point.shape))
        self._seen_on_axes = self._seen_particles = point.new_zeros(0, math.prod(self._image_shape))
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
            The gradient times the local covariance, in `objective * point`, for `control_variate`, `sigma_points`,
            `cross_covariance` and `per_particle` (the mean of the reference program's terms). For `regression` it is
            the gradient projected on the particles' span, in `objective / point`.
        """
        return self._estimated(self._columns(objective, target), objective, target, estimate, self.point.shape)

    def map(self, objective: Objective, target: int, estimate: str) -> ManifoldGradient:
        """The same gradient in pixels, `(C, H, W)`, in `objective * pixel` or `objective / pixel`.

        Its columns are images: the queried particles as they were decoded. No other particle is decoded. Where the
        estimate needs them, they follow a linear model of the decoder through the sigma points, `Pushforward`. For
        `control_variate` the queried particles correct it. So a map costs no decoding beside those of its query points.
        """
        columns = self._pixel_columns(objective, target)
        return self._estimated(columns, objective, target, estimate, self._image_shape)

    def projected_gradient(self, objective: Objective, target: int) -> Estimate:
        """The gradient projected on the manifold, `(C, H, W)` in `objective / pixel`. This costs no query.

        It comes from the same answers, whatever they were asked for: along the queried axes, or, if there is none,
        on the span of the queried particles.
        """
        answer, shape = self._pixel_columns(objective, target).projected_gradient(), self._image_shape
        return Estimate(answer.gradient.reshape(shape), answer.standard_error.reshape(shape))

    def _estimated(
        self, columns: Columns, objective: Objective, target: int, estimate: str, shape: tuple[int, ...]
    ) -> ManifoldGradient:
        if estimate == "per_particle" and self._on_particles is not None and len(columns.values) > 1:
            weights = gradient_in_scores(objective, self._on_particles, target)
            answer = columns.per_particle(self._on_particles, weights)
        else:
            answer = columns.gradient(estimate)
        return ManifoldGradient(
            answer.gradient.reshape(shape),
            answer.standard_error.reshape(shape),
            torch.cat([self._values(self._on_axes, objective, target), columns.values]),
            columns.model,
            answer.parts,
        )

    def _columns(self, objective: Objective, target: int) -> Columns:
        """The particles as points."""
        on_axes = self._values(self._on_axes, objective, target)
        values = self._values(self._on_particles, objective, target)
        paid = self.particles[: len(values)]
        if not len(on_axes):
            return Columns(self.particles, paid, values)
        model = linear_model(self.axes, self._points, on_axes)
        return Columns(self.particles, paid, values, model, model(self.particles), self.axes, len(on_axes) - 1)

    def _pixel_columns(self, objective: Objective, target: int) -> Columns:
        """The particles as images: decoded if they were queried, and else as `Pushforward` says."""
        columns = self._columns(objective, target)
        if self.denoiser.space.of_pixels:
            return columns
        paid, empty = self._seen_particles, self.particles.new_zeros(1, math.prod(self._image_shape))
        if columns.model is None:
            return replace(columns, particles=empty, paid=paid)
        decoder = Pushforward.through(self.axes, self._points, self._seen_on_axes)
        return replace(
            columns, particles=decoder(self.particles), paid=paid, model=decoder.carry(columns.model), axes=decoder.axes
        )

    def _ask_on_axes(self, ask: Ask, have: int, wanted: int) -> None:
        """Query sigma points. If the budget ends before the last, the axes with an answer come first from then on.

        If the centre has no answer, the mean of the answers around it takes its place.
        """
        points = self.denoiser.space.within(sigma_points(self.axes, wanted)[have:])
        images = self._images(points)
        try:
            answers = ask(images)
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
                self._keep_on_axes(points[answered], images[answered], answers)
            raise
        self._keep_on_axes(points, images, answers)

    def _keep_on_axes(self, points: Tensor, images: Tensor, answers: Tensor) -> None:
        self._points, self._on_axes = torch.cat([self._points, points]), _joined(self._on_axes, answers)
        self._seen_on_axes = torch.cat([self._seen_on_axes, images.flatten(1)])

    def _ask_on_particles(self, ask: Ask, first: int, stop: int) -> None:
        """Query particles. If the budget ends before the last, those with an answer come first from then on."""
        images = self._images(self.particles[first:stop])
        try:
            answers = ask(images)
        except QueryBudgetExceeded as error:
            answered = sorted(error.answered)
            if answered:
                answers = torch.stack([error.answered[index] for index in answered])
                order = _first([first + index for index in answered], after=first, of=len(self.particles))
                self.particles, self._on_particles = self.particles[order], _joined(self._on_particles, answers)
                self._seen_particles = torch.cat([self._seen_particles, images[answered].flatten(1)])
            raise
        self._on_particles = _joined(self._on_particles, answers)
        self._seen_particles = torch.cat([self._seen_particles, images.flatten(1)])

    def _draw(self, first: int, count: int) -> Tensor:
        return draw_points(
            self.denoiser, self.point, self.t, count, seed=self.seed, step=self.step, first=first
        ).flatten(1)

    def _images(self, points: Tensor) -> Tensor:
        return self.denoiser.decode(points.reshape(-1, *self.point.shape))

    def _values(self, answers: Tensor | None, objective: Objective, target: int) -> Tensor:
        return self.particles.new_zeros(0) if answers is None else objective(answers, target).to(self.particles)


def queries_on_axes(estimate: str, queries: int) -> int:
    """How many of the first `queries` go to sigma points, if there are enough axes. The others go to particles."""
    share = ON_AXES.get(estimate, 0.0)
    return max(round(share * queries), min(LEAST_ON_AXES, queries)) if share else 0


def _first(chosen: list[int], *, after: int, of: int) -> list[int]:
    """The numbers `0 .. of - 1`, with the `chosen` ones moved right behind the first `after`."""
    return [*range(after), *chosen, *(index for index in range(after, of) if index not in set(chosen))]


def _length(answers: Tensor | None) -> int:
    return 0 if answers is None else len(answers)


def _joined(before: Tensor | None, more: Tensor) -> Tensor:
    return more if before is None else torch.cat([before, more])
