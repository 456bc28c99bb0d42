"""The one estimator behind both tasks: the gradient of an objective on the manifold around an image, by asking.

image -> noisy copies -> denoised particles (free) -> query points -> black box (paid) -> gradient and its error
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from freemcg.blackbox import BlackBox
from freemcg.denoiser import Denoiser
from freemcg.ensemble import (
    PrincipalAxes,
    cross_covariance,
    per_particle,
    principal_axes,
    regression,
    sigma_point_gradient,
    sigma_points,
)
from freemcg.objective import Objective, gradient_in_scores
from freemcg.seeding import particle_noise

ESTIMATES = ("sigma_points", "cross_covariance", "regression", "per_particle")
SIGNAL_FLOOR = 1e-6


@dataclass(frozen=True)
class ManifoldGradient:
    """A gradient estimated around an image, and what it was estimated from.

    Attributes:
        gradient, standard_error: `(C, H, W)`.
        points: the query points, `(K, C, H, W)` in [0, 1].
        values: the objective at each, `(K,)`.
        center: the mean of the particles, `(C, H, W)`.
        axes: principal axes of the particles, for `sigma_points` only.
    """

    gradient: Tensor
    standard_error: Tensor
    points: Tensor
    values: Tensor
    center: Tensor
    axes: PrincipalAxes | None = None

    @property
    def queries(self) -> int:
        """Images the black box was asked about."""
        return len(self.points)

    @property
    def has_signal(self) -> bool:
        """Whether the black box answered differently for different query points."""
        return len(self.values) > 0 and bool(self.values.max() - self.values.min() > SIGNAL_FLOOR)


def draw_particles(denoiser: Denoiser, image: Tensor, t: int, count: int, *, seed: int, step: int = 0) -> Tensor:
    """Denoised noisy copies of `image` `(C, H, W)` at timestep `t`, `(count, C, H, W)` in [0, 1]. Asks nothing."""
    noise = particle_noise(seed, "particles", step, count, tuple(image.shape)).to(image)
    return denoiser.denoise(denoiser.add_noise(image, t, noise), t)


def manifold_gradient(
    black_box: BlackBox,
    denoiser: Denoiser,
    image: Tensor,
    t: int,
    target: int,
    objective: Objective,
    *,
    estimate: str,
    particles: int,
    queries: int,
    seed: int,
    step: int = 0,
) -> ManifoldGradient:
    """Estimate the gradient of `objective` for class `target` around `image` `(C, H, W)`, at noise level `t`.

    Args:
        estimate: one of `ESTIMATES`. `sigma_points` asks about points along the principal axes of all particles; the
            others ask about the first `queries` particles themselves.
        particles: `M`, drawn without asking.
        queries: `K`, the most that is asked; `sigma_points` uses pairs and so an even number of them.
        seed, step: name the noise of the particles.

    Returns:
        `sigma_points` and `cross_covariance` answer in units of `objective * pixel` (the gradient times the local
        covariance), `regression` in `objective / pixel` (the gradient projected on the particles' span), and
        `per_particle` as
        `cross_covariance` does: the mean over the particles of the reference program's terms.

    Costs at most `queries` queries and `particles` denoisings.
    """
    shape = image.shape
    drawn = draw_particles(denoiser, image, t, particles, seed=seed, step=step)
    flat = drawn.flatten(1)
    one = torch.ones(1, device=image.device, dtype=flat.dtype)
    if estimate == "sigma_points":
        axes = principal_axes(flat)
        points = sigma_points(axes, queries // 2).clamp(0, 1)
        values = _ask(black_box, points, shape, target, objective)
        answer = sigma_point_gradient(axes, points, values[:, None], one)
        return ManifoldGradient(
            answer.gradient.reshape(shape),
            answer.standard_error.reshape(shape),
            points.reshape(-1, *shape),
            values,
            axes.mean.reshape(shape),
            axes,
        )
    points = flat[:queries]
    center = points.mean(dim=0).reshape(shape)
    log_probabilities = black_box(points.reshape(-1, *shape))
    values = objective(log_probabilities, target)
    if estimate == "per_particle":
        weights = gradient_in_scores(objective, log_probabilities, target)
        terms = per_particle(points, log_probabilities, weights)
        gradient, error = terms.mean(dim=0), terms.std(dim=0) / len(terms) ** 0.5
    else:
        method = cross_covariance if estimate == "cross_covariance" else regression
        answer = method(points, values[:, None], one)
        gradient, error = answer.gradient, answer.standard_error
    return ManifoldGradient(gradient.reshape(shape), error.reshape(shape), points.reshape(-1, *shape), values, center)


def _ask(black_box: BlackBox, points: Tensor, shape: torch.Size, target: int, objective: Objective) -> Tensor:
    if not len(points):
        return points.new_zeros(0)
    return objective(black_box(points.reshape(-1, *shape)), target)
