"""A counterfactual that went past the number it was to reach, taken back along the straight line to the input."""

from __future__ import annotations

from dataclasses import replace

import torch

from freemcg.blackbox import BlackBox, QueryBudgetExceeded
from freemcg.diffusion.denoiser import Denoiser
from freemcg.diffusion.realism import denoising_error
from freemcg.files.images import as_file
from freemcg.results import NOT_FLIPPED, Counterfactual
from freemcg.tasks.goal import ValueGoal

MOST = 8


def taken_back(
    black_box: BlackBox, denoiser: Denoiser, result: Counterfactual, goal: ValueGoal, *, seed: int
) -> Counterfactual:
    """The first 8-bit image between input and answer whose number is as near as was wanted, by bisection.

    The search steps over a number that is nearer than its noise moves the answer. What lies between two images is as
    realistic as its `realism` says. A result that has not gone past the number comes back as it is.

    Costs at most 8 queries, which are the result's too.
    """
    if not result.flipped or goal.landed(goal.value_of(result.log_probabilities)):
        return result
    near, far, asked = 0.0, 1.0, 0
    change = result.image - result.original
    while asked < MOST:
        middle = (near + far) / 2
        image = as_file(result.original + middle * change)
        try:
            row = black_box(image[None])[0]
        except QueryBudgetExceeded:
            break
        asked += 1
        reached = bool(row[1] > row[0])
        if reached and goal.landed(goal.value_of(row)):
            errors = denoising_error(denoiser, torch.stack([result.original, image]), seed=seed)
            return replace(
                result,
                image=image,
                path=torch.cat([result.path, image[None]]),
                log_probabilities=row,
                l1=(image - result.original).abs().mean().item(),
                l2=(image - result.original).norm().item(),
                realism=(errors[1] / errors[0]).item(),
                queries=result.queries + asked,
            )
        near, far = (near, middle) if reached else (middle, far)
    return replace(result, decision=0, status=NOT_FLIPPED, queries=result.queries + asked)
