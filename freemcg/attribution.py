"""Feature attribution: the manifold gradient of the objective, at one noise level or averaged over several."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from freemcg.blackbox import BlackBox
from freemcg.denoiser import Denoiser
from freemcg.estimator import manifold_gradient
from freemcg.results import BUDGET_EXHAUSTED, COMPLETE, NO_SIGNAL, Attribution
from freemcg.settings import Settings


def attribute_image(
    black_box: BlackBox, denoiser: Denoiser, image: Tensor, target: int | str | None, settings: Settings
) -> Attribution:
    """Attribute the objective for `target` (the decision made, where `None`) to the pixels of `image` `(C, H, W)`.

    Costs `1 + settings.queries` queries, fewer where the budget holds fewer: then the map is made from those, and its
    status is `budget_exhausted`. The levels of `settings.noise` share the queries evenly.

    Raises:
        QueryBudgetExceeded: not even one query is left, so nothing can be said.
    """
    began, before = time.monotonic(), black_box.queries
    log_probabilities = black_box(image[None])[0]
    decision = int(log_probabilities.argmax())
    explained = decision if target is None else black_box.class_index(target)
    total, error, signal, short = torch.zeros_like(image), torch.zeros_like(image), False, False
    for step, level in enumerate(settings.noise):
        share = settings.queries // len(settings.noise)
        if black_box.remaining is not None and black_box.remaining < share:
            share, short = black_box.remaining, True
        if share < 2:
            error += float("inf")
            continue
        local = manifold_gradient(
            black_box,
            denoiser,
            image,
            denoiser.timestep(level),
            explained,
            settings.objective_function,
            estimate=settings.estimate,
            particles=settings.particles,
            queries=share,
            seed=settings.seed,
            step=step,
        )
        signal = signal or local.has_signal
        if local.has_signal:
            total += local.gradient
            error += local.standard_error.square()
    levels = len(settings.noise)
    status = BUDGET_EXHAUSTED if short else COMPLETE if signal else NO_SIGNAL
    return Attribution(
        values=total / levels,
        standard_error=error.sqrt() / levels,
        image=image,
        log_probabilities=log_probabilities,
        target=explained,
        decision=decision,
        status=status,
        queries=black_box.queries - before,
        seconds=time.monotonic() - began,
        record={},
    )
