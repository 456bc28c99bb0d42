"""What a comparison costs at most. The announcement of a start and the forecast of a plan count it here alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from freemcg.blackbox import BlackBox
from freemcg.comparison.cells import Cell
from freemcg.comparison.measures import MEASURES
from freemcg.comparison.recipe import Entry
from freemcg.jobs.plan import Forecast, asked_again, calls, carried, most_queries
from freemcg.messages.arguments import whole
from freemcg.messages.errors import InvalidValue
from freemcg.settings import Settings, make


@dataclass(frozen=True)
class Work:
    """What is asked at most.

    Attributes:
        calls: the queries, one number for each call of the black box that the next has to wait for.
        gradients: of the network.
    """

    calls: tuple[int, ...] = ()
    gradients: int = 0

    @property
    def queries(self) -> int:
        """The queries of all calls."""
        return sum(self.calls)

    def __add__(self, other: Work) -> Work:
        return Work(self.calls + other.calls, self.gradients + other.gradients)

    def __mul__(self, times: int) -> Work:
        return Work(self.calls * times, self.gradients * times)

    def __str__(self) -> str:
        counts = {"queries": self.queries, "gradients": self.gradients}
        return " and ".join(f"{count} {unit}" for unit, count in counts.items() if count) or "nothing"


@dataclass
class Remaining:
    """The work of a comparison that is left.

    Attributes:
        done: the number of maps with all measures.
        pending: the image and the method of each other map.
        undecided: the images whose class is not known yet.
        maps, measures, decisions: what these cost.
        asked_again: what it costs to ask about an image of an earlier start again.
        searches: what the counterfactuals of a recipe cost, those that are done as well.
    """

    done: int = 0
    pending: list[tuple[str, str]] = field(default_factory=list)
    undecided: list[str] = field(default_factory=list)
    maps: Work = Work()
    measures: Work = Work()
    decisions: Work = Work()
    asked_again: Work = Work()
    searches: Work = Work()

    @property
    def all(self) -> Work:
        """All of it."""
        return self.asked_again + self.decisions + self.maps + self.measures + self.searches


def settings_of(entry: Entry, settings: Settings) -> Settings:
    """The settings of FreeMCG with which an entry takes part.

    Raises:
        ValueError: a setting is wrong, or it is `queries`.
    """
    if "queries" in entry.settings:
        raise InvalidValue(f"{entry.name}: its queries follow from its cost; write cost instead of settings.queries")
    own = {**settings.named, **entry.settings, "queries": entry.cost or settings.queries}
    return make(Settings, own, source=entry.name) if entry.changes else settings


def cost_of(entry: Entry, settings: Settings, *, may_change: bool = False) -> Work:
    """The most that a map costs, if its class is known.

    Of a method that is not ours, the calls are not known. They are taken to be one query first, and then the rest.

    Args:
        settings: those of the comparison. Every entry may cost as much as one of its attributions, or its own `cost`.
        may_change: whether the black box may change, see `freemcg.jobs.plan.calls`.

    Raises:
        ValueError: a setting of FreeMCG is wrong, or the cost is too small for the method.
    """
    from baselines.registry import METHODS, settings_within  # noqa: PLC0415  (only a comparison needs the baselines)

    if entry.ours:
        return Work(tuple(calls(settings_of(entry, settings), "attribution", may_change=may_change)))
    cost = entry.cost or most_queries(settings, "attribution")
    most = cost if settings_within(entry.method, cost) else 1
    if METHODS[entry.method].needs_weights:
        return Work(gradients=most * whole("n_base", entry.settings.get("n_base", 1), 1))
    return Work((1, most - 1))


def missing(cell: Cell | None, measures: Sequence[str]) -> list[str]:
    """The measures that a cell lacks."""
    have = {} if cell is None else cell.figures
    return [name for name in measures if any(each.name not in have for each in MEASURES[name].columns)]


def cost_of_measuring(cell: Cell | None, map_: Work, measures: Sequence[str], steps: int) -> Work:
    """The most that the measures cost which a cell lacks, if a map of its method costs `map_`."""
    lacking = [MEASURES[name] for name in missing(cell, measures)]
    asked = [2 * steps + 1] if cell is None or cell.insertion is None else []
    asked += [measure.queries(steps) for measure in lacking if measure.queries(steps)]
    return Work(tuple(asked)) + map_ * sum(measure.maps for measure in lacking)


def remaining(
    kept: Mapping[tuple[str, str], Cell | None],
    costs: Mapping[str, Work],
    measures: Sequence[str],
    steps: int,
    *,
    black_box: BlackBox,
    decide: bool,
) -> Remaining:
    """What is left to do, and the most that it costs.

    Args:
        kept: the cell that is there, by image and method.
        costs: of a map, by method.
        measures: the names of further measures.
        steps: the steps of insertion and deletion.
        decide: whether each image costs a query for its class.
    """
    left, known = Remaining(), {image for (image, _), cell in kept.items() if cell is not None}
    for (image, name), cell in kept.items():
        if cell is not None and cell.error is None and not missing(cell, measures):
            left.done += 1
            continue
        left.pending.append((image, name))
        if cell is None or cell.values is None:
            left.maps += costs[name]
        left.measures += cost_of_measuring(cell, costs[name], measures, steps)
    left.undecided = [image for image in dict.fromkeys(image for image, _ in left.pending) if image not in known]
    left.decisions = Work((1,)) * (len(left.undecided) if decide else 0)
    if any(cell is not None and cell.scores is not None for cell in kept.values()):
        left.asked_again = Work(tuple(asked_again(black_box)))
    return left


def forecast_comparison(
    left: Remaining,
    images: int,
    black_box: BlackBox,
    *,
    latency: float | None = None,
    price_per_1000: float | None = None,
) -> Forecast:
    """The most that it costs to do what is left, for `describe_forecast`. This asks nothing."""
    work = left.all
    requests, seconds = carried(black_box, [(1, work.calls)], latency)
    price = None if price_per_1000 is None else work.queries * price_per_1000 / 1000
    return Forecast(images, work.queries, requests, seconds, price)


def describe_remaining(left: Remaining) -> Iterable[str]:
    """What is left of a comparison, as lines of text beside those of its forecast."""
    done = f"; done before: {left.done}, if their pictures are the same" if left.done else ""
    yield f"maps: {len(left.pending)}{done}"
    parts = {
        "to ask again about what is done": left.asked_again,
        "for the decisions": left.decisions,
        "for the maps": left.maps,
        "to measure them": left.measures,
        "for counterfactuals": left.searches,
    }
    yield "of these, at most " + ", ".join(f"{work} {what}" for what, work in parts.items() if work != Work())
