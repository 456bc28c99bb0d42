"""The counterfactual search of this package: few particles share one gradient, from a few well-placed queries."""

from __future__ import annotations

import torch
from einops import reduce
from torch import Tensor

from freemcg.blackbox import BlackBox, QueryBudgetExceeded
from freemcg.candidates import Candidates
from freemcg.denoiser import Denoiser
from freemcg.ensemble import axis_slopes
from freemcg.estimator import ManifoldGradient, manifold_gradient
from freemcg.objective import Objective
from freemcg.reverse import reverse_schedule, reverse_step, scaled_like
from freemcg.seeding import particle_noise
from freemcg.settings import SharedSearch

HUBER_WIDTH = 5 / 255
POLISH_DRAWS = 4


def shared_search(
    black_box: BlackBox,
    denoiser: Denoiser,
    image: Tensor,
    target: int,
    objective: Objective,
    search: SharedSearch,
    *,
    seed: int,
) -> Candidates:
    """Guide particles from noisy copies of `image` `(C, H, W)` to realistic images of class `target`.

    Every `refresh` steps the manifold gradient around the mean of the denoised particles is estimated, at the noise
    level of that step; all particles follow it until the next. The same answers predict each particle's objective, so
    one that is predicted to be past `stop` is not guided on. The pull to the input is the gradient of the Huber
    distance, an L1 distance that is smooth within 5 of 255 grey levels, so that rounding cannot turn its sign. At the
    end each particle is put back on the manifold once more: see `polish`.

    Costs `queries` for each of the `ceil((steps - 1) / refresh)` estimates, and
    `particles * steps + unpaid * estimates + 4 * particles` denoisings.
    """
    schedule = reverse_schedule(denoiser, search.strength, search.steps)
    start = particle_noise(seed, "start", 0, search.particles, tuple(image.shape)).to(image)
    x_t = denoiser.add_noise(image, schedule[0], start)
    local: ManifoldGradient | None = None
    paths, exhausted, signal = [], False, False
    for step, t in enumerate(schedule):
        images, noise = denoiser.separate(x_t, t)
        paths.append(images)
        if step + 1 == len(schedule):
            break
        push = -scaled_like(((images - image) / HUBER_WIDTH).clamp(-1, 1), noise, search.proximity)
        if step % search.refresh == 0 and not exhausted:
            try:
                local = manifold_gradient(
                    black_box,
                    denoiser,
                    images.mean(dim=0),
                    t,
                    target,
                    objective,
                    estimate="sigma_points",
                    particles=search.unpaid,
                    queries=search.queries,
                    seed=seed,
                    step=step + 1,
                )
                signal = signal or local.has_signal
            except QueryBudgetExceeded:
                exhausted = True
        if local is not None and local.has_signal:
            lacking = (predicted_values(local, images) < search.stop).to(images)
            push += lacking.reshape(-1, 1, 1, 1) * scaled_like(local.gradient[None], noise, search.guidance)
        x_t = reverse_step(denoiser, images, noise, push, t, schedule[step + 1], eta=search.eta, seed=seed, step=step)
    paths[-1] = polish(denoiser, images, search.polish, seed=seed)
    return Candidates(paths[-1], torch.stack(paths), exhausted=exhausted, no_signal=not (signal or exhausted))


def polish(denoiser: Denoiser, images: Tensor, level: float, *, seed: int) -> Tensor:
    """Each image as the mean of 4 denoised noisy copies at a low noise level: what is no part of the manifold goes."""
    t = denoiser.timestep(level)
    noise = particle_noise(seed, "polish", 0, POLISH_DRAWS, tuple(images.shape[1:])).to(images)
    copies = torch.cat([denoiser.add_noise(image, t, noise) for image in images])
    return reduce(denoiser.denoise(copies, t), "(n draws) c h w -> n c h w", "mean", draws=POLISH_DRAWS)


def predicted_values(local: ManifoldGradient, images: Tensor) -> Tensor:
    """The objective of images `(N, C, H, W)`, `(N,)`, by the linear model in the answers of `local`. Asks nothing."""
    assert local.axes is not None
    slopes = axis_slopes(local.axes, local.points.flatten(1), local.values)
    along = (images - local.center).flatten(1) @ local.axes.directions[: len(slopes)].T
    return local.values.mean() + along @ slopes
