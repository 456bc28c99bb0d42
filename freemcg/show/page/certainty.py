"""The section *How sure this is, and what it cost*: figures, each with what it means."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from freemcg.messages.errors import InvalidValue
from freemcg.show.names import short_name
from freemcg.show.page.maker import REALISTIC, is_told
from freemcg.show.page.words import counted, duration, number, percent

Attribution = Any
Counterfactual = Any
GOALS = (0.8, 0.9, 0.95)
STATUS = {
    "complete": ("complete", "everything was asked that was to be asked"),
    "no_signal": ("no signal", "every question got the same answer; raise the {level}, then the queries"),
    "budget_exhausted": ("budget ended", "what was learnt by then is shown"),
    "not_flipped": ("not flipped", "no candidate was decided as wanted; the best one is shown"),
    "already_target": ("already so", "the picture was decided as wanted before"),
    "model_changed": ("model changed", "asked again about the same picture, it gave another answer; do not trust this"),
}


@dataclass(frozen=True)
class Tile:
    """A figure, its name, and what it means in one line."""

    name: str
    value: str
    note: str


def tiles(attribution: Attribution | None, counterfactual: Counterfactual | None, marked: int | None) -> list[Tile]:
    """What was asked, what it took, and how far to trust it.

    Args:
        marked: the significant pixels of the map; `None` if it has no signal.
    """
    both = [(name, each) for name, each in (("map", attribution), ("counterfactual", counterfactual)) if each]
    found = [_sum(both)]
    found.append(
        Tile(
            "Took",
            duration(sum(each.seconds for _, each in both)),
            ", ".join(f"{name} {duration(each.seconds)}" for name, each in both),
        )
    )
    if attribution is not None and marked is not None:
        pixels = attribution.values[0].numel()
        finite = bool(attribution.standard_error.isfinite().all())
        reliability = f"{attribution.reliability:.2f}" if finite else "unknown"
        found.append(Tile("The map's reliability", reliability, "share of the map that is not error; 1 is the most"))
        note = "of all that are marked, at most 5 % are false on average"
        found.append(Tile("Significant pixels", f"{marked:,} of {pixels:,}", note))
    if counterfactual is not None and is_told(counterfactual):
        found.append(Tile("Size of the change", percent(counterfactual.l1), "of full brightness, mean over pixels"))
        found.append(Tile("Realism", _shown(counterfactual.realism), _likeness(counterfactual.realism)))
        if (judge := counterfactual.record.get("judge")) is not None:
            agrees = judge == counterfactual.target
            name = short_name(counterfactual.record, judge)
            note = f"a second network, never asked by the search, sees {name}"
            found.append(Tile("Independent judge", "agrees" if agrees else "disagrees", note))
    if lost := next((each.record["autoencoder"] for _, each in both if "autoencoder" in each.record), None):
        found.append(Tile("Lost by the autoencoder", percent(lost["l1"]), _loss(lost.get("changes_decision"))))
    alike = len({each.status for _, each in both}) == 1
    for name, each in both[:1] if alike else both:
        title, note = STATUS[str(each.status)]
        level = "noise" if each is attribution else "noise level of the search (search.strength)"
        found.append(Tile("Status" if alike else f"Status of the {name}", title, note.format(level=level)))
    return found


def _shown(realism: float) -> str:
    """The figure with two digits after the point, so that it is not rounded to 1 or over it."""
    return f"{realism:.2f}" if math.isfinite(realism) and realism < 10 else number(realism)


def _likeness(realism: float) -> str:
    if not math.isfinite(realism):
        return "the denoising error, divided by the input's"
    if realism <= 1:
        return "the denoising error, divided by the input's; up to 1 is as realistic"
    much = "a little harder" if realism <= REALISTIC else "harder"
    return f"the denoising error, divided by the input's; {much} to draw than the input"


def _loss(changes_decision: bool | None) -> str:
    what = "of full brightness, mean over pixels, by encoding and decoding the picture"
    if changes_decision is None:
        return what
    return (
        f"{what}; this alone changes the decision: do not trust this" if changes_decision else f"{what}; same decision"
    )


def _sum(both: list[tuple[str, Any]]) -> Tile:
    total = sum(each.queries for _, each in both)
    return Tile(
        "Asked",
        f"{total:,} queries",
        ", ".join(f"{each.queries:,} for the {name}{_of_path(each)}" for name, each in both),
    )


def _of_path(result: Any) -> str:
    asked = result.record.get("path_queries")
    return "" if asked is None else f" ({asked:,} of them for the steps on its path)"


def forecasts(attribution: Attribution) -> list[str]:
    """What a more reliable map would cost, one sentence for each goal that this map does not reach."""
    told = []
    for goal in GOALS:
        if attribution.reliability >= goal:
            continue
        try:
            queries = attribution.queries_for(goal)
        except InvalidValue:
            return ["This map gives no forecast. Ask more queries, then it does."]
        if queries == math.inf:
            told.append(f"Reliability {goal}: no number of queries is enough. Raise the particles, at no query.")
            break
        told.append(
            f"Reliability {goal}: {counted(int(queries), 'query')} for the map, instead of {attribution.queries:,}."
        )
    return told or ["The map is as reliable as one asks for: 0.95 or more."]
