"""The finished part of the frontier, as rows with intervals, a table, a CSV and a plot."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from freemcg import Counterfactual
from freemcg.evaluation import Interval, mean_interval, ratio_interval, share_interval

FOLDER = re.compile(r"(?P<method>[a-z]+)(-(?P<allowed>\d+))?-seed(?P<seed>\d+)")
PROBABILITIES = (0.0, 0.5, 0.9, 0.99, 0.999, 1.0)
SETTLES = ("default", "untrimmed", "faithful", "whitebox")
"""The methods whose settings the image decides, so that they may differ within a row."""
PANELS = {"judged": "judge agrees", "flipped": "decided as target", "l1": "L1", "realism": "denoising error / input's"}


@dataclass(frozen=True)
class Row:
    """The figures of one method with so many queries: means over images and seeds, with intervals that draw images."""

    method: str
    allowed: int | None
    images: int
    seeds: int
    flipped: Interval
    judged: Interval
    l1: Interval
    realism: Interval
    queries: Interval
    most_queries: int
    seconds: Interval
    l1_ratio: Interval | None = None
    l1_ratio_decided: Interval | None = None
    realism_ratio: Interval | None = None


@dataclass(frozen=True)
class Finished:
    """A finished counterfactual, without its pictures. `change` holds the class of the image, and the target."""

    image: int
    seed: int
    change: tuple[int, int]
    flipped: bool
    judged: bool
    probability: float
    l1: float
    realism: float
    queries: int
    seconds: float
    made_by: dict[str, Any]


def read_finished(
    folder: Path, judge: torch.nn.Module, chosen: range, methods: Sequence[str]
) -> dict[str, list[Finished]]:
    """Read the finished counterfactuals, by method and queries allowed, such as `ours-50` or `whitebox`.

    Raises:
        ValueError: the counterfactuals of one row were made with different settings or models.
    """
    found: dict[str, list[Finished]] = {}
    for path in sorted(folder.glob("*/*.safetensors")):
        named = FOLDER.fullmatch(path.parent.name)
        if named is None or named["method"] not in methods or int(path.stem) not in chosen:
            continue
        result = Counterfactual.load(path)
        with torch.no_grad():
            verdict = int(judge(result.image[None]).argmax())
        row = found.setdefault(path.parent.name.rpartition("-")[0], [])
        row.append(
            Finished(
                image=int(path.stem),
                seed=int(named["seed"]),
                change=(int(result.original_log_probabilities.argmax()), result.target),
                flipped=result.flipped,
                judged=verdict == result.target,
                probability=result.target_probability,
                l1=result.l1,
                realism=result.realism,
                queries=result.queries,
                seconds=result.seconds,
                made_by=_made_by(result, settles=named["method"] in SETTLES),
            )
        )
        if row[-1].made_by != row[0].made_by:
            raise ValueError(
                f"{path} was made with other settings or models than the rest of its row; remove one or the other"
            )
    return found


def _made_by(result: Counterfactual, *, settles: bool) -> dict[str, Any]:
    """What all of a row have alike. If the search `settles` itself, its settings may differ from image to image."""
    own = {"seed", "search"} if settles else {"seed"}
    settings = {key: value for key, value in result.record["settings"].items() if key not in own}
    return {"settings": settings, **{key: result.record[key] for key in ("black_box", "denoiser_identity")}}


def summarise_row(name: str, finished: list[Finished], reference: list[Finished] | None) -> Row:
    method, _, allowed = name.partition("-")
    clusters = torch.tensor([each.image for each in finished])

    def share(key: str) -> Interval:
        return share_interval(torch.tensor([getattr(each, key) for each in finished]), clusters=clusters)

    def mean(key: str) -> Interval:
        return mean_interval(torch.tensor([float(getattr(each, key)) for each in finished]), clusters=clusters)

    return Row(
        method=method,
        allowed=int(allowed) if allowed else None,
        images=len(clusters.unique()),
        seeds=len({each.seed for each in finished}),
        flipped=share("flipped"),
        judged=share("judged"),
        l1=mean("l1"),
        realism=mean("realism"),
        queries=mean("queries"),
        most_queries=max(each.queries for each in finished),
        seconds=mean("seconds"),
        l1_ratio=paired_ratio("l1", finished, reference),
        l1_ratio_decided=paired_ratio("l1", *map(_decided, (finished, reference or []))),
        realism_ratio=paired_ratio("realism", finished, reference),
    )


def paired_ratio(key: str, finished: list[Finished], reference: list[Finished] | None) -> Interval | None:
    """The ratio of two rows on the images that both have, after the mean over each image's seeds."""
    ours, theirs = (_by_image(key, each) for each in (finished, reference or []))
    both = sorted(ours.keys() & theirs.keys())
    if not both:
        return None
    return ratio_interval(
        torch.tensor([ours[image] for image in both]), torch.tensor([theirs[image] for image in both])
    )


def _decided(finished: list[Finished]) -> list[Finished]:
    return [each for each in finished if each.flipped]


def _by_image(key: str, finished: list[Finished]) -> dict[int, float]:
    values: dict[int, list[float]] = {}
    for each in finished:
        values.setdefault(each.image, []).append(getattr(each, key))
    return {image: sum(seeds) / len(seeds) for image, seeds in values.items()}


def markdown(rows: list[Row], against: str) -> Iterator[str]:
    titles = [
        "method",
        "queries allowed",
        "images",
        "seeds",
        "decided as target",
        "judge agrees",
        "L1",
        "realism",
        "queries asked (most)",
        "seconds",
    ]
    compared = any(row.l1_ratio is not None for row in rows)
    if compared:
        titles += [f"L1 over {against}", "the same, where both are decided as target", f"realism over {against}"]
    yield "| " + " | ".join(titles) + " |"
    yield "| --- " * len(titles) + "|"
    for row in rows:
        cells = [row.method, "" if row.allowed is None else f"{row.allowed:,}", f"{row.images}", f"{row.seeds}"]
        cells += [_percent(row.flipped), _percent(row.judged), f"{row.l1:.4f}", f"{row.realism:.3f}"]
        cells += [f"{row.queries:,.1f} ({row.most_queries:,})", f"{row.seconds:.2f}"]
        if compared:
            ratios = row.l1_ratio, row.l1_ratio_decided, row.realism_ratio
            cells += ["" if ratio is None else f"{ratio:.2f}" for ratio in ratios]
        yield "| " + " | ".join(cells) + " |"


def by_probability(found: dict[str, list[Finished]]) -> Iterator[str]:
    """A table of how often the judge agrees with counterfactuals whose target is about as probable."""
    yield "| method | target's probability | counterfactuals | judge agrees |"
    yield "| --- | --- | --- | --- |"
    for name, finished in found.items():
        for low, high in pairwise(PROBABILITIES):
            judged = [
                each.judged for each in finished if low <= each.probability < high or each.probability == high == 1
            ]
            if judged:
                share = _percent(share_interval(torch.tensor(judged)))
                yield f"| {name} | {low:g} to {high:g} | {len(judged)} | {share} |"


def by_seed(found: dict[str, list[Finished]]) -> Iterator[str]:
    """A table with a row for each seed of each method."""
    yield "| method | seed | images | decided as target | judge agrees | L1 | realism | queries asked |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for name, finished in found.items():
        for seed in sorted({each.seed for each in finished}):
            row = summarise_row(name, [each for each in finished if each.seed == seed], None)
            means = f"{_percent(row.flipped)} | {_percent(row.judged)} | {row.l1:.4f} | {row.realism:.3f}"
            yield f"| {name} | {seed} | {row.images} | {means} | {row.queries:.1f} |"


def by_change(found: dict[str, list[Finished]]) -> Iterator[str]:
    """A table of the classes between which the judge disagrees, the most frequent change first."""
    yield "| method | class | target | counterfactuals | judge disagrees |"
    yield "| --- | --- | --- | --- | --- |"
    for name, finished in found.items():
        whole = Counter(each.change for each in finished)
        disagreed = Counter(each.change for each in finished if not each.judged)
        for (origin, target), count in disagreed.most_common():
            yield f"| {name} | {origin} | {target} | {whole[origin, target]} | {count} |"


def _percent(interval: Interval) -> str:
    return f"{100 * interval.value:.1f} % [{100 * interval.low:.0f}, {100 * interval.high:.0f}]"


def write_csv(rows: list[Row], path: Path, **common: str) -> None:
    """Write one line for each row. An interval takes three columns: the value, `_low` and `_high`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        lines = [{**common, **_flat(row)} for row in rows]
        writer = csv.DictWriter(file, fieldnames=max(lines, key=len), restval="")
        writer.writeheader()
        writer.writerows(lines)


def _flat(row: Row) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in vars(row).items():
        if isinstance(value, Interval):
            flat |= {key: value.value, f"{key}_low": value.low, f"{key}_high": value.high}
        elif value is not None or key == "allowed":
            flat[key] = value
    return flat


def draw(rows: list[Row], title: str, methods: Sequence[str]) -> Figure:
    """Draw four panels against queries: a method is a line, a row without a bound a level. Bars are 95 % intervals."""
    figure = Figure(figsize=(10, 7), layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(2, 2, sharex=True)
    for axes, (key, label) in zip(grid.flat, PANELS.items(), strict=True):
        axes.set(xscale="log", yscale="log" if key == "realism" else "linear", ylabel=label)
        for index, method in enumerate(methods):
            of_method = [row for row in rows if row.method == method]
            bounded = [row for row in of_method if row.allowed is not None]
            for row in of_method:
                if row.allowed is None:
                    level = getattr(row, key)
                    axes.axhline(level.value, color=f"C{index}", linestyle="--", label=method)
                    axes.axhspan(level.low, level.high, color=f"C{index}", alpha=0.1, linewidth=0)
            if bounded:
                values = [getattr(row, key) for row in bounded]
                axes.errorbar(
                    [row.queries.value for row in bounded],
                    [value.value for value in values],
                    yerr=[[v.value - v.low for v in values], [v.high - v.value for v in values]],
                    color=f"C{index}",
                    marker="o",
                    capsize=3,
                    label=method,
                )
        axes.grid(alpha=0.3)
    for axes in grid[1]:
        axes.set_xlabel("queries an image")
    grid[0, 0].legend()
    return figure
