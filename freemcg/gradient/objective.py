"""The scalar being explained, computed from log-probabilities `(N, num_classes)`: one value per image, `(N,)`.

Log-odds are the default. They still grow when a probability saturates, and need fewer queries than a probability.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from freemcg.blackbox.scores import MULTI_LABEL, VALUE
from freemcg.messages.errors import InvalidValue

Objective = Callable[[Tensor, int], Tensor]


def log_odds(log_probabilities: Tensor, target: int) -> Tensor:
    """`log p_t - log (1 - p_t)`. Here `1 - p_t` is a sum over the other classes, so it never rounds to zero."""
    return log_probabilities[:, target] - _without(log_probabilities, target).logsumexp(dim=1)


def log_probability(log_probabilities: Tensor, target: int) -> Tensor:
    """`log p_t`, the paper's objective."""
    return log_probabilities[:, target]


def logit(log_probabilities: Tensor, target: int) -> Tensor:
    """The logit of the target minus the mean logit. An offset common to all logits changes no probability."""
    return log_probabilities[:, target] - log_probabilities.mean(dim=1)


def margin(log_probabilities: Tensor, target: int) -> Tensor:
    """`log p_t - log p_r` with `r` the strongest other class. It is positive if the black box decides `t`."""
    return log_probabilities[:, target] - _without(log_probabilities, target).amax(dim=1)


def between(other: int) -> Objective:
    """`log p_t - log p_o`: what speaks for the target against one `other` class."""
    return lambda log_probabilities, target: log_probabilities[:, target] - log_probabilities[:, other]


def label_log_odds(log_probabilities: Tensor) -> Tensor:
    """`log p - log (1 - p)` of independent labels, from `log p` of any shape. It is exact at both ends."""
    return log_probabilities - (-torch.expm1(log_probabilities)).log()


def two_classes(log_odds: Tensor) -> Tensor:
    """Log-probabilities `(N, 2)` of no and yes, from the log-odds `(N,)` of yes."""
    return torch.stack([F.logsigmoid(-log_odds), F.logsigmoid(log_odds)], dim=1)


def objective_of(objective: Objective, scores: str) -> Objective:
    """The objective, adapted to the kind of scores.

    For labels that do not exclude one another, it compares a label with its absence. For numbers, every named objective
    is the number itself, since a number has no probability.
    """
    if scores in MULTI_LABEL:
        return lambda answers, target: objective(two_classes(label_log_odds(answers[:, target])), 1)
    if scores == VALUE and objective in OBJECTIVES.values():
        return lambda answers, target: answers[:, target]
    return objective


def _without(log_probabilities: Tensor, target: int) -> Tensor:
    return torch.cat([log_probabilities[:, :target], log_probabilities[:, target + 1 :]], dim=1)


OBJECTIVES: dict[str, Objective] = {
    "log_odds": log_odds,
    "log_probability": log_probability,
    "logit": logit,
    "margin": margin,
}


def named(objective: str | Objective) -> Objective:
    """An objective by its name, or a callable of the user's, whose answers are checked.

    Raises:
        ValueError: when called, the callable does not answer one finite number for each image.
    """
    return OBJECTIVES[objective] if isinstance(objective, str) else partial(_checked, objective)


def _checked(objective: Objective, log_probabilities: Tensor, target: int) -> Tensor:
    values, shape = objective(log_probabilities, target), tuple(log_probabilities.shape[:1])
    if not isinstance(values, Tensor):
        got = f"a {type(values).__name__}"
    elif values.shape != shape:
        got = f"shape {tuple(values.shape)}"
    elif not values.isfinite().all():
        got = "NaN or infinity"
    else:
        return values
    raise InvalidValue(f"the objective must answer a tensor of shape {shape}, a finite number an image, got {got}")


def gradient_in_scores(objective: Objective, log_probabilities: Tensor, target: int) -> Tensor:
    """The paper's `e^k`: the gradient `(K, num_classes)` of each image's objective with respect to its own scores.

    It is taken through `log_softmax`, so for the log-probability it is `onehot(target) - softmax(y^k)`.
    """
    with torch.enable_grad():
        scores = log_probabilities.detach().clone().requires_grad_(True)
        total = objective(scores.log_softmax(dim=1), target).sum()
        (gradient,) = torch.autograd.grad(total, scores)
    return gradient
