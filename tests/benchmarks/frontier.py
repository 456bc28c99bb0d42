"""The frontier of counterfactuals: what each method reaches with how many queries.

    python tests/benchmarks/frontier.py run --data digits --methods ours --budgets 50,100 --images 100 --seeds 0,1,2
    python tests/benchmarks/frontier.py run --data digits --methods ours,paper,pixel,whitebox --images 30
    python tests/benchmarks/frontier.py report --data digits --csv frontier.csv --plot frontier.png

The target is the classifier's runner-up. `run` keeps each finished counterfactual in --out, a file for each method,
budget, seed and image; a second start does only what is missing, and several may run side by side on different methods,
budgets, seeds or images. For MNIST, make the pictures, train three models, and name the folder that they are in:

    python tests/benchmarks/frontier.py mnist-folder --mnist ../shared/data/mnist.npz --out mnist
    freemcg train denoiser --config mnist-denoiser --data mnist/train --out runs/mnist-denoiser
    freemcg train classifier --config mnist-classifier --data mnist/train --out runs/mnist-classifier
    freemcg train classifier --config mnist-judge --data mnist/train --out runs/mnist-judge
    python tests/benchmarks/frontier.py run --data mnist --models runs --images 30
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from data_sets import MNIST, MODELS, SPLITS, Models, load_images, load_judge, load_models, read_mnist
from matplotlib.figure import Figure
from tqdm import tqdm

from freemcg import BlackBox, Counterfactual, FreeMCG
from freemcg.evaluation import Interval, mean_interval, ratio_interval, share_interval
from freemcg.images import write_image

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__, rich_markup_mode=None)
OUT = Path("runs/frontier")
BUDGETS = "25,50,100,200,400,1600,10000"
FOLDER = re.compile(r"(?P<method>[a-z]+)(-(?P<budget>\d+))?-seed(?P<seed>\d+)")


def ours(models: Models, budget: int, seed: int) -> Any:
    return FreeMCG(BlackBox(models.classifier, budget=None), models.denoiser, search={"budget": budget}, seed=seed)


def paper(models: Models, budget: int, seed: int) -> Any:
    """The published procedure with as many particles as steps, or one more step, scaled to the budget."""
    search = {"method": "paper", **scaled_preset(budget)}
    return FreeMCG(
        BlackBox(models.classifier),
        models.denoiser,
        search=search,
        estimate="per_particle",
        objective="log_probability",
        particles=100,
        seed=seed,
    )


def scaled_preset(budget: int) -> dict[str, int]:
    """The most particles K, and then steps S, that cost `K (S - 1) + 2` queries: 100 and 100 at 10,000."""
    particles = (1 + math.isqrt(4 * budget - 7)) // 2
    return {"particles": particles, "steps": (budget - 2) // particles + 1}


def whitebox(models: Models, budget: int, seed: int) -> Any:
    from baselines.diffusion_guided import DiffusionGuided

    return DiffusionGuided(models.classifier, models.denoiser, seed=seed)


def pixel(models: Models, budget: int, seed: int) -> Any:
    from baselines.pixel_search import PixelSearch

    return PixelSearch(BlackBox(models.classifier), models.denoiser, queries=budget, seed=seed)


METHODS: dict[str, Callable[[Models, int, int], Any]] = {
    "ours": ours,
    "paper": paper,
    "whitebox": whitebox,
    "pixel": pixel,
}
UNBOUNDED = ("whitebox",)

Data = Annotated[str, typer.Option(help="digits or mnist.")]
Split = Annotated[str, typer.Option(help="test, or train to choose settings on.")]
ModelFolder = Annotated[Path, typer.Option(help="Holds mnist-denoiser, mnist-classifier and mnist-judge.")]
MnistFile = Annotated[Path, typer.Option(help="MNIST as one .npz.")]


@app.command()
def run(
    data: Data = "digits",
    methods: str = ",".join(METHODS),
    budgets: str = BUDGETS,
    images: int = 30,
    first: int = 0,
    seeds: str = "0",
    split: Split = "test",
    out: Path = OUT,
    mnist: MnistFile = MNIST,
    models: ModelFolder = MODELS,
) -> None:
    """Find the counterfactuals that are missing in --out."""
    cells = list(_cells(methods, budgets, seeds))
    pictures = load_images(data, split, first=first, count=images, mnist=mnist)
    loaded = load_models(data, models)
    missing = []
    for name, method, budget, seed in cells:
        explainer = METHODS[method](loaded, budget, seed)
        for index, picture in enumerate(pictures, start=first):
            path = out / f"{data}-{split}" / f"{name}-seed{seed}" / f"{index:05d}.safetensors"
            if not path.is_file():
                missing.append((explainer, picture, path))
    for explainer, picture, path in (bar := tqdm(missing)):
        bar.set_description(f"{path.parent.name} {path.stem}")
        if not path.is_file():
            result = explainer.counterfactual(picture)
            replace(result, path=result.path[-1:]).save(path)


def _cells(methods: str, budgets: str, seeds: str) -> Iterator[tuple[str, str, int, int]]:
    """Name, method, budget and seed; a method without a budget has 0 and comes once a seed."""
    for method in methods.split(","):
        if method not in METHODS:
            raise typer.BadParameter(f"--methods are {', '.join(METHODS)}, got {method!r}")
        for budget in [0] if method in UNBOUNDED else _integers(budgets):
            for seed in _integers(seeds):
                yield method if method in UNBOUNDED else f"{method}-{budget}", method, budget, seed


@dataclass(frozen=True)
class Row:
    """What one method reaches with one budget; means over images and seeds, with intervals that draw images."""

    method: str
    budget: int | None
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
    realism_ratio: Interval | None = None


@dataclass(frozen=True)
class Finished:
    """A finished counterfactual, without its pictures."""

    image: int
    seed: int
    flipped: bool
    judged: bool
    l1: float
    realism: float
    queries: int
    seconds: float
    made_by: dict[str, Any]


@app.command()
def report(
    data: Data = "digits",
    images: Annotated[int | None, typer.Option(help="Only so many images, from --first on.  [default: all]")] = None,
    first: int = 0,
    split: Split = "test",
    against: Annotated[
        str, typer.Option(help="A row; L1 and realism are also given over its, on its images.")
    ] = "paper-10000",
    out: Path = OUT,
    models: ModelFolder = MODELS,
    csv_file: Annotated[Path | None, typer.Option("--csv")] = None,
    plot: Path | None = None,
) -> None:
    """Print a table of what is finished in --out, a row for each method and budget."""
    chosen = range(first, 10**9 if images is None else first + images)
    judge = load_judge(data, models)
    found = read_finished(out / f"{data}-{split}", judge, chosen)
    if not found:
        raise typer.BadParameter(f"nothing is finished in {out / f'{data}-{split}'}; start 'run' first")
    rows = [summarise_row(name, each, found.get(against)) for name, each in found.items()]
    rows.sort(key=lambda row: (list(METHODS).index(row.method), row.budget or 0))
    print("\n".join(markdown(rows, against)))
    if csv_file is not None:
        write_csv(rows, csv_file, data=data, split=split, against=against)
    if plot is not None:
        plot.parent.mkdir(parents=True, exist_ok=True)
        draw(rows, f"{data}, {split} images").savefig(plot, dpi=150)


def read_finished(folder: Path, judge: torch.nn.Module, chosen: range) -> dict[str, list[Finished]]:
    """What is finished, by method and budget, as `ours-50` or `whitebox`.

    Raises:
        ValueError: the counterfactuals of one method and budget were made with different settings or models.
    """
    found: dict[str, list[Finished]] = {}
    for path in sorted(folder.glob("*/*.safetensors")):
        named = FOLDER.fullmatch(path.parent.name)
        if named is None or named["method"] not in METHODS or int(path.stem) not in chosen:
            continue
        result = Counterfactual.load(path)
        with torch.no_grad():
            verdict = int(judge(result.image[None]).argmax())
        row = found.setdefault(path.parent.name.rpartition("-")[0], [])
        row.append(
            Finished(
                image=int(path.stem),
                seed=int(named["seed"]),
                flipped=result.flipped,
                judged=verdict == result.target,
                l1=result.l1,
                realism=result.realism,
                queries=result.queries,
                seconds=result.seconds,
                made_by=_made_by(result),
            )
        )
        if row[-1].made_by != row[0].made_by:
            raise ValueError(
                f"{path} was made with other settings or models than the rest of its row; remove one or the other"
            )
    return found


def _made_by(result: Counterfactual) -> dict[str, Any]:
    settings = {key: value for key, value in result.record["settings"].items() if key != "seed"}
    return {"settings": settings, **{key: result.record[key] for key in ("black_box", "denoiser_identity")}}


def summarise_row(name: str, finished: list[Finished], reference: list[Finished] | None) -> Row:
    method, _, budget = name.partition("-")
    clusters = torch.tensor([each.image for each in finished])

    def share(key: str) -> Interval:
        return share_interval(torch.tensor([getattr(each, key) for each in finished]), clusters=clusters)

    def mean(key: str) -> Interval:
        return mean_interval(torch.tensor([float(getattr(each, key)) for each in finished]), clusters=clusters)

    return Row(
        method=method,
        budget=int(budget) if budget else None,
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


def _by_image(key: str, finished: list[Finished]) -> dict[int, float]:
    values: dict[int, list[float]] = {}
    for each in finished:
        values.setdefault(each.image, []).append(getattr(each, key))
    return {image: sum(seeds) / len(seeds) for image, seeds in values.items()}


def markdown(rows: list[Row], against: str) -> Iterator[str]:
    titles = [
        "method",
        "budget",
        "images",
        "seeds",
        "decided as target",
        "judge agrees",
        "L1",
        "realism",
        "queries (most)",
        "seconds",
    ]
    compared = any(row.l1_ratio is not None for row in rows)
    titles += [f"L1 over {against}", f"realism over {against}"] if compared else []
    yield "| " + " | ".join(titles) + " |"
    yield "| --- " * len(titles) + "|"
    for row in rows:
        cells = [row.method, "" if row.budget is None else f"{row.budget:,}", f"{row.images}", f"{row.seeds}"]
        cells += [_percent(row.flipped), _percent(row.judged), f"{row.l1:.4f}", f"{row.realism:.3f}"]
        cells += [f"{row.queries:,.1f} ({row.most_queries:,})", f"{row.seconds:.2f}"]
        if compared:
            cells += ["" if ratio is None else f"{ratio:.2f}" for ratio in (row.l1_ratio, row.realism_ratio)]
        yield "| " + " | ".join(cells) + " |"


def _percent(interval: Interval) -> str:
    return f"{100 * interval.value:.1f} % [{100 * interval.low:.0f}, {100 * interval.high:.0f}]"


def write_csv(rows: list[Row], path: Path, **common: str) -> None:
    """One line a row; an interval takes three columns: the value, `_low`, `_high`."""
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
        elif value is not None or key == "budget":
            flat[key] = value
    return flat


PANELS = {"judged": "judge agrees", "flipped": "decided as target", "l1": "L1", "realism": "denoising error / input's"}


def draw(rows: list[Row], title: str) -> Figure:
    """Four panels against queries: a line a method, a level for one without a budget; bars are 95 % intervals."""
    figure = Figure(figsize=(10, 7), layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(2, 2, sharex=True)
    for axes, (key, label) in zip(grid.flat, PANELS.items(), strict=True):
        axes.set(xscale="log", yscale="log" if key == "realism" else "linear", ylabel=label)
        for index, method in enumerate(METHODS):
            of_method = [row for row in rows if row.method == method]
            values = [getattr(row, key) for row in of_method]
            if method in UNBOUNDED:
                for value in values:
                    axes.axhline(value.value, color=f"C{index}", linestyle="--", label=method)
                    axes.axhspan(value.low, value.high, color=f"C{index}", alpha=0.1, linewidth=0)
            elif of_method:
                ends = [[v.value - v.low for v in values], [v.high - v.value for v in values]]
                queries = [row.queries.value for row in of_method]
                axes.errorbar(
                    queries,
                    [v.value for v in values],
                    yerr=ends,
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


@app.command()
def mnist_folder(mnist: MnistFile = MNIST, out: Path = Path("mnist")) -> None:
    """Write MNIST as pictures, padded to 32x32: OUT/train/0/00000.png and so on, what `freemcg train` reads."""
    for split in SPLITS:
        images, labels = read_mnist(mnist, split)
        for index, (image, label) in enumerate(zip(tqdm(images, desc=split), labels.tolist(), strict=True)):
            path = out / split / str(label) / f"{index:05d}.png"
            if not path.is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                write_image(image.float() / 255, path)


def _integers(listed: str) -> list[int]:
    try:
        return [int(each) for each in listed.split(",")]
    except ValueError:
        raise typer.BadParameter(f"whole numbers with commas between them, got {listed!r}") from None


if __name__ == "__main__":
    app()
