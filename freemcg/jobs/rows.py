"""A result as a row of the table."""

from __future__ import annotations

import math
from typing import Any

from freemcg.blackbox.scores import VALUE
from freemcg.results import Attribution, Counterfactual, Explanation
from freemcg.show.names import class_name


def row_of(result: Explanation) -> dict[str, Any]:
    """The values that the table and the record of a picture show."""
    return _attribution_row(result) if isinstance(result, Attribution) else _counterfactual_row(result)


def _attribution_row(result: Attribution) -> dict[str, Any]:
    return {
        "decision": class_name(result.record, result.decision),
        **_answered(result),
        "target": class_name(result.record, result.target),
        "status": result.status,
        "signal to noise": _finite(result.signal_to_noise),
        "queries": result.queries,
        "seconds": round(result.seconds, 2),
    }


def _answered(result: Attribution) -> dict[str, float]:
    """The black box's answer for the image: its value, or the probability of the decision."""
    answer = result.log_probabilities[result.decision]
    if result.record.get("scores") == VALUE:
        return {"value": float(f"{answer.item():.5g}")}
    return {"probability": round(answer.exp().item(), 4)}


def _reached(result: Counterfactual) -> dict[str, float]:
    if "value" in result.record:
        return {name: float(f"{result.record[name]:.5g}") for name in ("value before", "value")}
    return {"probability": round(result.target_probability, 4)}


def _counterfactual_row(result: Counterfactual) -> dict[str, Any]:
    return {
        "decision": class_name(result.record, result.original_decision),
        "target": class_name(result.record, result.target),
        "flipped": result.flipped,
        **_reached(result),
        "status": result.status,
        "l1": _finite(result.l1),
        "realism": _finite(result.realism),
        "queries": result.queries,
        "seconds": round(result.seconds, 2),
    }


def _finite(value: float) -> float | None:
    """The value to 5 digits; JSON knows no infinity."""
    return float(f"{value:.5g}") if math.isfinite(value) else None
