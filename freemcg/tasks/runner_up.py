"""The class that a counterfactual is for if nobody names one: the second of an answer, or of 32 particles' labels."""

from __future__ import annotations

import torch
from torch import Tensor

from freemcg.blackbox import BlackBox, QueryBudgetExceeded
from freemcg.diffusion.denoiser import Denoiser
from freemcg.diffusion.particles import draw_particles
from freemcg.messages.errors import InvalidValue
from freemcg.results import Status
from freemcg.settings import Settings

RUNNER_UP_QUERIES = 32


def with_runner_up_paid(settings: Settings, black_box: BlackBox, target: float | str | None) -> Settings:
    """The settings, with a search that leaves enough queries for `runner_up`."""
    if target is not None or not _hides_runner_up(black_box):
        return settings
    try:
        left = settings.search.without(RUNNER_UP_QUERIES)
    except ValueError:
        raise InvalidValue(
            f"search.queries of {settings.search.queries} is too small; to find a runner-up from labels takes "
            f"{RUNNER_UP_QUERIES} of them; raise it, or name the target"
        ) from None
    return settings.model_copy(update={"search": left})


def runner_up(
    black_box: BlackBox, denoiser: Denoiser, image: Tensor, original: Tensor, strength: float, seed: int
) -> tuple[int, Status | None]:
    """The runner-up that `search_counterfactuals` defines, and `None`. If there is none, any class and the status.

    It costs 32 queries of a black box that hides its runner-up, and else none.
    """
    decision, second = original.argsort(descending=True)[:2].tolist()
    if not _hides_runner_up(black_box):
        return second, None
    left = black_box.remaining
    asked = RUNNER_UP_QUERIES if left is None else min(RUNNER_UP_QUERIES, left)
    if asked == 0:
        return second, Status.BUDGET_EXHAUSTED
    particles = draw_particles(denoiser, image, denoiser.timestep(strength), asked, seed=seed)
    without_other = Status.NO_SIGNAL
    try:
        decisions = black_box(particles).argmax(dim=1)
    except QueryBudgetExceeded as error:  # during retries; the answers received until then count
        decisions = torch.tensor([int(row.argmax()) for row in error.answered.values()], dtype=torch.long)
        without_other = Status.BUDGET_EXHAUSTED
    others = decisions[decisions != decision]
    return (int(others.mode().values), None) if len(others) else (second, without_other)


def _hides_runner_up(black_box: BlackBox) -> bool:
    return black_box.scores == "label" and (black_box.num_classes or 0) > 2
