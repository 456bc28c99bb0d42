"""How the learning rate rises and falls over a run.

A cosine falls from the first step, at a pace set by how many steps there will be. A run that is prolonged under it
jumps back to a rate that it had left, and a run that is cut short never got to a low one. So there is another schedule,
for runs whose length is not known beforehand: warm-up, a constant rate, and a decay over the last share of the steps
(Hu et al. 2024, arXiv:2404.06395; Hägele et al. 2024, arXiv:2405.18392). At a step before the decay its rate is the
same, however many steps there will be. A finished run that is given more steps goes back to the constant rate, and what
it spent on its first decay is all that it spent otherwise than one long run.
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
