"""How the learning rate rises and falls over a run.

A cosine falls from the first step, at a pace set by the number of steps. If a run is prolonged, its rate jumps back up.
If a run is cut short, it never reaches a low rate. So there is another schedule for runs of unknown length: warm-up, a
constant rate, and a decay over the last share of the steps (Hu et al. 2024, arXiv:2404.06395; Hägele et al. 2024,
arXiv:2405.18392). Before the decay, its rate does not depend on the number of steps. A finished run that gets more
steps returns to the constant rate. Then it differs from one long run only by the steps of its first decay.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from freemcg.training.settings import Training


def relative_rate(step: int, settings: Training) -> float:
    """The learning rate of step `0, 1, ...` as a share of `settings.learning_rate`, in [0, 1]."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    if settings.schedule == "cosine":
        progress = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
        return 0.5 * (1 + math.cos(math.pi * progress))
    return min(1.0, (settings.steps - step) / (settings.decay * settings.steps))
