"""If a counterfactual went past the number to reach, it is moved back on the straight line to the input."""

from __future__ import annotations

from dataclasses import replace

import torch

from freemcg.blackbox import BlackBox, QueryBudgetExceeded
from freemcg.blackbox.preparation import as_file
from freemcg.diffusion.denoiser import Denoiser
from freemcg.diffusion.realism import denoising_error
from freemcg.results import Counterfactual, Status
from freemcg.tasks.goal import ValueGoal

MOST = 8


def taken_back(
    black_box: BlackBox, denoiser: Denoiser, result: Counterfactual, goal: ValueGoal, *, seed: int
) -> Counterfactual:
    """Bisect from input to answer for an 8-bit image whose number is near enough to the goal.

    The noise of the search can move the answer farther than the goal is away, so the search can step over it. An image
    between two others need not be realistic; the `realism` of the result tells. A result that has not gone past the
    number is returned as it is.

    It costs at most 8 queries, which are added to the result's.
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
            along = result.path_log_probabilities
            return replace(
                result,
                image=image,
                path=torch.cat([result.path, image[None]]),
                path_log_probabilities=None if along is None else torch.cat([along, row[None]]),
                log_probabilities=row,
                l1=(image - result.original).abs().mean().item(),
                l2=(image - result.original).norm().item(),
                realism=(errors[1] / errors[0]).item(),
                queries=result.queries + asked,
            )
        near, far = (near, middle) if reached else (middle, far)
    return replace(result, decision=0, status=Status.NOT_FLIPPED, queries=result.queries + asked)
