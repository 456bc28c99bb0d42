"""What the classifier answered along the path of a counterfactual: a curve of chances, and a strip of decisions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from markupsafe import Markup
from torch import Tensor

from freemcg.blackbox.scores import MULTI_LABEL
from freemcg.show.names import short_name
from freemcg.show.page.words import chance, counted

Counterfactual = Any
TALL, EDGE = 150, 10
"""The height of the curve, and what is left free above and below it, in pixels."""
MOST = math.log(1e13)
"""Log-odds beyond this are drawn at the edge."""
NEAR, FAR = 12.0, 36.0
"""Curves that reach over so many log-odds have marks at other places."""
MARKS = {
    math.log(9): ("9 in 10", "1 in 10"),
    math.log(999): ("999 in 1,000", "1 in 1,000"),
    math.log(1e6 - 1): ("all but 1 in a million", "1 in a million"),
    math.log(1e12): ("all but 1 in a trillion", "1 in a trillion"),
}
ON_THE_WAY = ("shared", "paper", "diffusion_guided")
"""The searches whose steps `--ask-path` asks about."""


@dataclass(frozen=True)
class Run:
    """Steps that follow one another and are decided alike: the first, the last, and their place in percent."""

    name: str
    kind: str
    first: int
    last: int
    left: float
    width: float


@dataclass(frozen=True)
class Curve:
    """The chances of the target, on a scale of log-odds.

    Attributes:
        target: the name of the target.
        heights: the place of each step in pixels from the top.
        marks: places on the scale in pixels, each with its chance in words.
        line: the steps as an SVG path, in steps and pixels. The input is no part of it.
        link: the way from the input to the first step.
    """

    target: str
    heights: list[float]
    marks: list[tuple[float, str]]
    line: str
    link: str


@dataclass(frozen=True)
class Along:
    """The answers along a path.

    Attributes:
        curve: `None` if the answers have no chances: a bare label, or a number to reach.
        runs: the decisions.
        told: how each step is decided, in words.
        said: one sentence that says where the decision turns.
        cost: one sentence that says what it cost to ask.
        spoken: a text that stands for curve and strip.
    """

    curve: Curve | None
    runs: list[Run]
    told: list[str]
    said: str
    cost: str
    spoken: str


def has_odds(result: Counterfactual) -> bool:
    """Whether the answers are chances of classes that exclude one another, so that odds mean something."""
    record = result.record
    exclusive = record.get("scores") not in MULTI_LABEL or "goal" in record
    return exclusive and "value" not in record and record.get("scores") != "label"


def unasked(result: Counterfactual) -> str:
    """One sentence for a path that has no answers."""
    settings = result.record.get("settings", {})
    if settings.get("ask_path"):
        return "What the classifier thinks of the steps was not asked, since the budget had too few queries left."
    told = "What the classifier thinks of the steps was not asked"
    if settings.get("search", {}).get("method", "shared") not in ON_THE_WAY:
        return f"{told}."
    return told + Markup('; <span class="option">freemcg counterfactual --ask-path</span> asks it.')


def along(result: Counterfactual, steps: Sequence[int]) -> Along | None:
    """The answers for the input, some steps of the path, and the counterfactual; `None` if they were not asked.

    Args:
        steps: the numbers of the steps in `result.path`.
    """
    if result.path_log_probabilities is None:
        return None
    middle = result.path_log_probabilities[torch.tensor(steps, dtype=torch.long)]
    ends = result.original_log_probabilities[None], result.log_probabilities[None]
    rows = torch.cat([ends[0], middle.to(ends[0]), ends[1].to(ends[0])]).detach().cpu()
    decisions = [result.original_decision, *rows[1:-1].argmax(dim=1).tolist(), result.decision]
    runs = _runs(result, decisions)
    curve = _curve(rows, result) if has_odds(result) else None
    return Along(
        curve=curve,
        runs=runs,
        told=[_told(result, row, decision) for row, decision in zip(rows, decisions, strict=True)],
        said=_sentence(result, decisions, runs[-1]),
        cost=_cost(result, len(steps)),
        spoken=_spoken(result, rows, runs, curve),
    )


def log_odds(rows: Tensor, target: int) -> Tensor:
    """The log-odds of the target against all others, `(S,)`, from log-probabilities `(S, num_classes)`."""
    others = rows.double().clone()
    others[:, target] = -math.inf
    return rows[:, target].double() - others.logsumexp(dim=1)


def _curve(rows: Tensor, result: Counterfactual) -> Curve:
    values: list[float] = log_odds(rows, result.target).nan_to_num(0.0, MOST, -MOST).clamp(-MOST, MOST).tolist()
    low, high = min(0.0, *values), max(0.0, *values)
    reach = max(high - low, 1.0)

    def height(value: float) -> float:
        return round(EDGE + (TALL - 2 * EDGE) * (high - value) / reach, 1)

    heights = [height(value) for value in values]
    places = [f"{step} {at}" for step, at in enumerate(heights)]
    marks = [(height(value), name) for value, name in _marks(high - low) if low <= value <= high]
    name = short_name(result.record, result.target)
    return Curve(name, heights, marks, f"M{'L'.join(places[1:])}", f"M{places[0]}L{places[1]}")


def _marks(reach: float) -> list[tuple[float, str]]:
    tenth, thousandth, millionth, trillionth = MARKS
    if reach <= NEAR:
        shown = [tenth, thousandth]
    else:
        shown = [thousandth, millionth] if reach <= FAR else [millionth, trillionth]
    likely = [(value, MARKS[value][0]) for value in shown]
    return [*likely, (0.0, "1 in 2"), *((-value, MARKS[value][1]) for value in shown)]


def _name(result: Counterfactual, decision: int) -> str:
    if "value" in result.record:
        return "as wanted" if decision == result.target else "not as wanted"
    return short_name(result.record, decision)


def _told(result: Counterfactual, row: Tensor, decision: int) -> str:
    name = _name(result, decision)
    if "value" in result.record:
        return name
    return f"decided {name}, {chance(row[decision].item())}" if has_odds(result) else f"decided {name}"


def _runs(result: Counterfactual, decisions: list[int]) -> list[Run]:
    last, first, runs = len(decisions) - 1, 0, []
    for decision, group in groupby(decisions):
        end = first + len(list(group)) - 1
        left, right = max(0.0, (first - 0.5) / last), min(1.0, (end + 0.5) / last)
        kind = {result.target: "target", result.original_decision: "input"}.get(decision, "other")
        runs.append(Run(_name(result, decision), kind, first, end, 100 * left, 100 * (right - left)))
        first = end + 1
    return runs


def _cost(result: Counterfactual, shown: int) -> str:
    asked = len(result.path_log_probabilities)
    paid = f"cost {counted(result.record.get('path_queries', asked), 'query')} of those counted below"
    if shown < asked - 1:  # the last may be the answer
        return f"To ask about all {asked} steps {paid}; {shown} of them are shown."
    return f"To ask about the steps {paid}."


def _sentence(result: Counterfactual, decisions: list[int], ending: Run) -> str:
    name, last = _name(result, result.target), len(decisions) - 1
    what = name if "value" in result.record else f"decided {name}"
    if decisions[-1] != result.target:
        count = decisions.count(result.target)
        turned = f"{counted(count, 'step')} {'is' if count == 1 else 'are'} {what}, but the best found is not."
        return turned if count else f"No step is {what}."
    if ending.first < last:
        return f"From step {ending.first} on, every picture here is {what}."
    before = decisions[:-1].count(result.target)
    if before:
        return f"The last picture is {what}, and so {'is 1 step' if before == 1 else f'are {before} steps'} on the way."
    return f"Of all pictures here, only the last is {what}."


def _spoken(result: Counterfactual, rows: Tensor, runs: list[Run], curve: Curve | None) -> str:
    last = len(rows) - 1

    def step(number: int) -> str:
        return "the input" if number == 0 else "the answer" if number == last else f"step {number}"

    def steps(run: Run) -> str:
        return step(run.first) if run.first == run.last else f"{step(run.first)} to {step(run.last)}"

    decided = "Decided along the path: " + "; ".join(f"{steps(run)} {run.name}" for run in runs) + "."
    if curve is None:
        return decided
    chances = rows[:, result.target].tolist()
    middle = range(1, last)
    told = [0, min(middle, key=chances.__getitem__), max(middle, key=chances.__getitem__), last]
    each = ", ".join(f"{chance(chances[number])} for {step(number)}" for number in dict.fromkeys(sorted(told)))
    return f"The chance of {curve.target}: {each}. {decided}"
