"""The counterfactual search of this package: few particles share one gradient, from a few well-placed queries."""

from __future__ import annotations

import torch
from einops import reduce
from torch import Tensor

from freemcg.blackbox import BlackBox, QueryBudgetExceeded
from freemcg.candidates import Candidates
from freemcg.denoiser import Denoiser
from freemcg.estimator import Ensemble, ManifoldGradient
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
    level of that step; all particles follow it until the next. Answers at sigma points predict each particle's
    objective too, so one that is predicted to be past `stop` is not guided on. The cross-covariance predicts nothing;
    of bare labels it is the difference between those called the target and the rest, and where all are called so, it
    is zero and guides no more. Particles differ in how hard they are guided, from `guidance / spread` to `guidance *
    spread`: what is just enough for one image is too little for another, and trying costs nothing here. The pull to the
    input is the gradient of the Huber distance, an L1 distance that is smooth within 5 of 255 grey levels, so that
    rounding cannot turn its sign. At the end each particle is put back on the manifold once more: see `polish`. Their
    mean, polished too, is a candidate of its own.

    Costs `gradients * queries_per_gradient` queries, and `particles * steps + drawn * gradients + 4 * (particles + 1)`
    denoisings, where `drawn` is `unpaid`, or as many as are asked about if these are more.
    """
    schedule = reverse_schedule(denoiser, search.strength, search.steps)
    start = particle_noise(seed, "start", 0, search.particles, tuple(image.shape)).to(image)
    x_t = denoiser.add_noise(image, schedule[0], start)
    guidance = search.guidance * guidance_factors(search.particles, search.spread).to(image)
    local: ManifoldGradient | None = None
    paths, exhausted, signal = [], False, False
    for step, t in enumerate(schedule):
        images, noise = denoiser.separate(x_t, t)
        paths.append(torch.cat([images, images.mean(dim=0, keepdim=True)]))
        if step + 1 == len(schedule):
            break
        push = -scaled_like(((images - image) / HUBER_WIDTH).clamp(-1, 1), noise, search.proximity)
        if step % search.refresh == 0 and not exhausted:
            ensemble = Ensemble(denoiser, images.mean(dim=0), t, particles=search.unpaid, seed=seed, step=step + 1)
            try:
                ensemble.ask(black_box, search.queries_per_gradient, search.estimate)
            except QueryBudgetExceeded:
                exhausted = True
            if not exhausted or (local is None and ensemble.queries > 1):
                local = ensemble.gradient(objective, target, search.estimate)
                signal = signal or local.has_signal
        if local is not None and local.has_signal:
            lacking = torch.ones_like(guidance)
            if local.model is not None:
                lacking = (local.model(images.flatten(1)) < search.stop).to(images)
            push += (guidance * lacking).reshape(-1, 1, 1, 1) * scaled_like(local.gradient[None], noise, 1.0)
        x_t = reverse_step(denoiser, images, noise, push, t, schedule[step + 1], eta=search.eta, seed=seed, step=step)
    found = paths[-1] = polish(denoiser, paths[-1], search.polish, seed=seed)
    likely = torch.ones(len(found), dtype=torch.bool)
    if local is not None and local.model is not None:
        likely = (local.model(found.flatten(1)) > 0).cpu()
    return Candidates(found, torch.stack(paths), likely, exhausted=exhausted, no_signal=not (signal or exhausted))


def guidance_factors(count: int, factor: float) -> Tensor:
    """`count` factors in geometric progression from `1 / factor` to `factor`; 1 where there is one."""
    return torch.logspace(-1, 1, count, base=factor) if count > 1 else torch.ones(count)


def polish(denoiser: Denoiser, images: Tensor, level: float, *, seed: int) -> Tensor:
    """Each image as the mean of 4 denoised noisy copies at a low noise level: what is no part of the manifold goes."""
    t = denoiser.timestep(level)
    noise = particle_noise(seed, "polish", 0, POLISH_DRAWS, tuple(images.shape[1:])).to(images)
    copies = torch.cat([denoiser.add_noise(image, t, noise) for image in images])
    return reduce(denoiser.denoise(copies, t), "(n draws) c h w -> n c h w", "mean", draws=POLISH_DRAWS)
