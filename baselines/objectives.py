"""The scalars that query methods explain, by name: those of `freemcg.gradient.objective`, and the probability."""

from __future__ import annotations

from torch import Tensor

from freemcg.gradient.objective import OBJECTIVES, Objective
from freemcg.messages.errors import InvalidValue


def probability(log_probabilities: Tensor, target: int) -> Tensor:
    """`p_t`, with which RISE was defined. Once it saturates, a small change of the image does not show in it."""
    return log_probabilities[:, target].exp()


KNOWN: dict[str, Objective] = {**OBJECTIVES, "probability": probability}


def objective_function(objective: str | Objective) -> Objective:
    """An objective by its name, or a callable as it is.

    Raises:
        ValueError: no objective has that name.
    """
    if not isinstance(objective, str):
        return objective
    if objective not in KNOWN:
        raise InvalidValue(f"objective must be one of {', '.join(KNOWN)} or a callable, got {objective!r}")
    return KNOWN[objective]
