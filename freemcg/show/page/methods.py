"""The page of a comparison: the maps of all methods side by side, and a table of measures that can be sorted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from freemcg.files.whole import write_text
from freemcg.show.page.further import Further
from freemcg.show.page.gallery import PAGE
from freemcg.show.page.standing import Standing
from freemcg.show.page.templates import COMPARISON, page
from freemcg.show.page.words import counted

DOTS = 60
"""Of more pictures, only the first are dots in a figure. Mean and interval are those of all."""
PROPER = {"rise": "RISE", "geex": "GEEX", "xrai": "XRAI", "grad_cam": "Grad-CAM"}
SHORT = {"freemcg": "FreeMCG", "ig": "IG", "ig2": "IG2", "idgi": "IDGI", "hsic": "HSIC", "lime": "LIME", "shap": "SHAP"}


@dataclass(frozen=True)
class Measured:
    """One measure of one method.

    Attributes:
        mean: over the pictures; `None` if there is no figure.
        low, high: the ends of its 95 % interval; `None` for fewer than two pictures.
        values: the figure of each picture.
    """

    mean: float | None
    low: float | None
    high: float | None
    values: list[float]


@dataclass(frozen=True)
class Measure:
    """A column: its name, whether more is better, and what it means."""

    name: str
    higher: bool
    meaning: str


@dataclass(frozen=True)
class Method:
    """A row.

    Attributes:
        name: as the command line names it.
        cost: the mean cost of a map, with its unit, in words.
        weights: whether it reads the weights of the model, or only asks.
        maps: the address of the map of each picture shown; `None` where it failed.
        measured: its measures, in the order of the columns.
        failed: on how many pictures it failed.
        why: the reason of the first failure.
    """

    name: str
    cost: str
    weights: bool
    maps: list[str | None]
    measured: list[Measured]
    failed: int
    why: str

    @property
    def title(self) -> str:
        """The name as people write it."""
        return method_title(self.name)


@dataclass(frozen=True)
class Pictured:
    """A picture above its column of maps: its name, the class explained, and its address; `None` if it was not kept."""

    name: str
    target: str
    address: str | None


def write_methods(
    methods: Sequence[Method],
    measures: Sequence[Measure],
    pictures: Sequence[Pictured],
    images: int,
    out: Path,
    standing: Standing | None = None,
    *,
    lede: Markup,
    remarks: Sequence[str] = (),
    tables: Sequence[Further] = (),
) -> Path:
    """Write `report.html` of a comparison into `out`, whole or not at all.

    Args:
        pictures: those that are shown, of all `images`.
        standing: the ranks and tests, under the same measures; left out if it is `None`.
        lede: who leads, for the top of the page; see `finding`.
        remarks: what a reader must know, in sentences.
        tables: further tables.
    """
    columns = [_scale(number, measure, methods) for number, measure in enumerate(measures)]
    html = page(
        "comparison.html",
        COMPARISON,
        title=f"How {counted(len(methods), 'method')} explain {counted(images, 'picture')}",
        lede=lede,
        beside="",
        methods=methods,
        columns=columns,
        pictures=pictures,
        images=images,
        dots=DOTS,
        standing=standing,
        remarks=remarks,
        tables=tables,
    )
    write_text(out / PAGE, html)
    return out / PAGE


def finding(methods: Sequence[Method], measures: Sequence[Measure]) -> Markup:
    """Which method leads in which measure, and whether another one could be as good as far as the intervals tell."""
    told = []
    for number, measure in enumerate(measures):
        known = [(method, method.measured[number]) for method in methods if method.measured[number].mean is not None]
        if not known:
            continue
        sign = 1 if measure.higher else -1
        best, figure = max(known, key=lambda each: sign * (each[1].mean or 0.0))
        others = [each for each in known if each[0] is not best]
        close = [method.title for method, theirs in others if _overlap(figure, theirs, higher=measure.higher)]
        alone = Markup("In {}, <b>{}</b> leads").format(measure.name.lower(), best.title)
        near = f", with {_listed(close)} within its interval" if close else ""
        told.append(alone + near + ".")
    return Markup(" ").join(told)


def _overlap(best: Measured, other: Measured, *, higher: bool) -> bool:
    """Whether the other's mean lies within the interval of the best."""
    edge = best.low if higher else best.high
    return edge is not None and other.mean is not None and (other.mean >= edge if higher else other.mean <= edge)


def _listed(names: Sequence[str]) -> str:
    if len(names) > 3:
        return f"{counted(len(names), 'other method')}"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def method_title(name: str) -> str:
    """The name of a method as people write it: `Integrated gradients`, `Guided IG`, `RISE`."""
    if name in PROPER:
        return PROPER[name]
    words = [SHORT.get(word, word) for word in name.split("_")]
    return " ".join([words[0][:1].upper() + words[0][1:], *words[1:]])


@dataclass(frozen=True)
class Column:
    """A measure with the ends of the scale on which its figures are drawn."""

    measure: Measure
    low: float
    high: float

    def place(self, value: float) -> float:
        """The place of a value on the scale, in percent."""
        return 100 * (value - self.low) / (self.high - self.low)


def _scale(number: int, measure: Measure, methods: Sequence[Method]) -> Column:
    drawn = [method.measured[number] for method in methods]
    found = [value for each in drawn for value in (*each.values[:DOTS], each.low, each.high) if value is not None]
    low, high = min([0.0, *found]), max([1.0, *found])
    return Column(measure, low, high)
