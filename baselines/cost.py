"""One cost for every method: each gets the settings that spend as much of it as possible, and no more."""

from __future__ import annotations

from functools import partial
from typing import Any

from baselines.integrated_gradients import IntegratedGradients
from baselines.names import unknown
from baselines.registry import METHODS
from freemcg.messages.errors import InvalidValue

SAMPLED = ("smooth_grad", "smooth_grad_squared", "var_grad", "expected_gradients")
SEARCH_STEPS = 8  # pieces of the line along which tangentially_aligned_ig integrates while it searches
ASCENT_STEPS = 15  # steps in each ascent of adversarial_gradient_integration: its default and its authors' value
LINE_STEPS = 50  # pieces of geometrically_guided_ig's line, as by default; its ascents get the rest of the cost


def settings_within(name: str, cost: int) -> dict[str, Any]:
    """Settings for `create(name, ...)` with which one image and a given target cost at most `cost`.

    The unit is gradients if the method needs weights, and queries otherwise. A method without a number of samples or
    steps, such as `gradient`, has a fixed cost and gets no settings.

    Raises:
        ValueError: there is no such method, or the cost is too small for it.
    """
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    if cost < 1:
        raise InvalidValue(f"cost must be >= 1, got {cost}")
    settings: dict[str, Any] = {"samples" if name in SAMPLED else "steps": cost}
    if not METHODS[name].needs_weights:
        settings = {"queries": cost + 1}  # one is for the decision, in case the target is not given
    elif name in ("gradient", "input_x_gradient"):
        settings = {}
    elif name == "idgi":
        settings = {"path": partial(IntegratedGradients, steps=cost)}
    elif name == "adversarial_gradient_integration":
        classes = max(1, min(cost // (2 * ASCENT_STEPS), 15))
        steps = _at_least_one(name, min(ASCENT_STEPS, cost // (2 * classes)), 2, cost)
        settings = {"classes": classes, "steps": steps}
    elif name == "geometrically_guided_ig":
        steps = _at_least_one(name, min(LINE_STEPS, cost - 1), 2, cost)
        settings = {"steps": steps, "iterations": cost // (steps + 1)}
    elif name == "tangentially_aligned_ig":
        evaluations = _at_least_one(name, (cost // SEARCH_STEPS - 1) // 3, 4 * SEARCH_STEPS, cost)
        settings = {"steps": SEARCH_STEPS, "iterations": evaluations - 1}
    return settings


def _at_least_one(name: str, value: int, least: int, cost: int) -> int:
    if value < 1:
        raise InvalidValue(f"{name} needs at least {least} gradients, got {cost}")
    return value
