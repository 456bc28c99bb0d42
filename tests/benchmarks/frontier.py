"""The frontier of counterfactuals: how well each method does with so many queries.

    python tests/benchmarks/frontier.py run --data digits --methods ours --queries 50,100 --images 100 --seeds 0,1,2
    python tests/benchmarks/frontier.py run --data digits --methods ours,paper,pixel,whitebox --images 30
    python tests/benchmarks/frontier.py report --data digits --csv frontier.csv --plot frontier.png

The target is the classifier's runner-up. --queries is the most that one counterfactual may ask, the query about the
image included. `run` keeps a file in --out for each method, number of queries, seed and image. A second start does only
what is missing. Several may run side by side on different methods, queries, seeds or images. For MNIST, make the
pictures, train three models, and name the folder that they are in:

    python tests/benchmarks/frontier.py mnist-folder --mnist ../shared/data/mnist.npz --out mnist
    freemcg train denoiser --config mnist-denoiser --data mnist/train --out runs/mnist-denoiser
    freemcg train classifier --config mnist-classifier --data mnist/train --out runs/mnist-classifier
    freemcg train classifier --config mnist-judge --data mnist/train --out runs/mnist-judge
    python tests/benchmarks/frontier.py run --data mnist --models runs --images 30
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from data_sets import MNIST, MODELS, SPLITS, Models, load_images, load_judge, load_models, read_mnist
from frontier_report import by_change, by_probability, by_seed, draw, markdown, read_finished, summarise_row, write_csv
from tqdm import tqdm

from freemcg import BlackBox, FreeMCG, SharedSearch
from freemcg.files.images import write_image
from freemcg.settings import NARROW

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__, rich_markup_mode=None)
OUT = Path("runs/frontier")
QUERIES = "25,50,100,200,400,1600,10000"


def ours(models: Models, queries: int, seed: int) -> Any:
    return FreeMCG(BlackBox(models.classifier), models.denoiser, search={"queries": queries}, seed=seed)


def default(models: Models, queries: int, seed: int) -> Any:
    """Our search with nothing named but the models."""
    return FreeMCG(BlackBox(models.classifier), models.denoiser, seed=seed)


def oneround(models: Models, queries: int, seed: int) -> Any:
    """Our search with a single round, whose steps follow the newest gradient alone."""
    search = {"queries": queries, "rounds": 1, "momentum": 0.0}
    return FreeMCG(BlackBox(models.classifier), models.denoiser, search=search, seed=seed)


def lossy(models: Models, queries: int, seed: int) -> Any:
    """Our search with nothing given back, neither what denoising takes from the image nor what the answer needs not."""
    search = {"queries": queries, "fidelity": 0.0, "trim": 0, "confidence": 0.99}
    return FreeMCG(BlackBox(models.classifier), models.denoiser, search=search, seed=seed)


def faithful(models: Models, queries: int, seed: int) -> Any:
    """Our search with all given back of what denoising takes from the image, and no trimming."""
    return FreeMCG(BlackBox(models.classifier), models.denoiser, search={"fidelity": 1.0, "trim": 0}, seed=seed)


def untrimmed(models: Models, queries: int, seed: int) -> Any:
    """Our search with nothing named, but the answer is not trimmed."""
    return FreeMCG(BlackBox(models.classifier), models.denoiser, search={"trim": 0}, seed=seed)


def axes(models: Models, queries: int, seed: int) -> Any:
    """Our search with the settings for few directions, whatever the image."""
    return FreeMCG(BlackBox(models.classifier), models.denoiser, search=SharedSearch(queries=queries), seed=seed)


def paper(models: Models, queries: int, seed: int) -> Any:
    """The published procedure, scaled to the queries: it has as many particles as steps, or one step more."""
    search = {"method": "paper", **scaled_preset(queries)}
    box = BlackBox(models.classifier)
    return FreeMCG(box, models.denoiser, search=search, objective="log_probability", seed=seed)


def scaled_preset(queries: int) -> dict[str, int]:
    """The most particles K, and then the most steps S, for `K (S - 1) + 2` queries: 100 and 100 for 10,000."""
    particles = (1 + math.isqrt(4 * queries - 7)) // 2
    return {"particles": particles, "steps": (queries - 2) // particles + 1}


def whitebox(models: Models, queries: int, seed: int) -> Any:
    from baselines.diffusion_guided import DiffusionGuided

    return DiffusionGuided(models.classifier, models.denoiser, seed=seed)


def whiteboxfew(models: Models, queries: int, seed: int) -> Any:
    """White-box guidance with the settings for few directions, whatever the image."""
    from baselines.diffusion_guided import DiffusionGuided

    search = SharedSearch(confidence=0.99, spread=NARROW)
    return DiffusionGuided(models.classifier, models.denoiser, search=search, seed=seed)


def dvce(models: Models, queries: int, seed: int) -> Any:
    from baselines.dvce import DVCE

    return DVCE(models.classifier, models.denoiser, seed=seed)


def pixel(models: Models, queries: int, seed: int) -> Any:
    from baselines.pixel_search import PixelSearch

    return PixelSearch(BlackBox(models.classifier), models.denoiser, queries=queries, seed=seed)


def nearest(models: Models, queries: int, seed: int) -> Any:
    """The nearest of 1,000 training images that the classifier decides as the target. Labels are not used."""
    from baselines.nearest_image import NearestImage

    known = load_images(models.data, "train", count=1000)
    return NearestImage(BlackBox(models.classifier), models.denoiser, images=known, queries=queries, seed=seed)


METHODS: dict[str, Callable[[Models, int, int], Any]] = {
    "ours": ours,
    "default": default,
    "oneround": oneround,
    "lossy": lossy,
    "untrimmed": untrimmed,
    "faithful": faithful,
    "axes": axes,
    "paper": paper,
    "whitebox": whitebox,
    "whiteboxfew": whiteboxfew,
    "dvce": dvce,
    "pixel": pixel,
    "nearest": nearest,
}
UNBOUNDED = ("default", "untrimmed", "faithful", "whitebox", "whiteboxfew", "dvce")

Data = Annotated[str, typer.Option(help="digits, mnist, cifar10 or chest-xrays.")]
Split = Annotated[str, typer.Option(help="test; or train, to choose settings.")]
ModelFolder = Annotated[Path, typer.Option(help="Holds mnist-denoiser, mnist-classifier and mnist-judge.")]
MnistFile = Annotated[Path, typer.Option(help="MNIST as one .npz.")]


@app.command()
def run(
    data: Data = "digits",
    methods: str = "ours,paper,whitebox,pixel",
    queries: str = QUERIES,
    images: int = 30,
    first: int = 0,
    seeds: str = "0",
    split: Split = "test",
    out: Path = OUT,
    mnist: MnistFile = MNIST,
    models: ModelFolder = MODELS,
) -> None:
    """Find the counterfactuals that are missing in --out."""
    cells = list(_cells(methods, queries, seeds))
    pictures = load_images(data, split, first=first, count=images, mnist=mnist)
    loaded = load_models(data, models)
    missing = []
    for name, method, allowed, seed in cells:
        explainer = METHODS[method](loaded, allowed, seed)
        for index, picture in enumerate(pictures, start=first):
            path = out / f"{data}-{split}" / f"{name}-seed{seed}" / f"{index:05d}.safetensors"
            if not path.is_file():
                missing.append((explainer, picture, path))
    for explainer, picture, path in (bar := tqdm(missing)):
        bar.set_description(f"{path.parent.name} {path.stem}")
        if not path.is_file():
            result = explainer.counterfactual(picture)
            replace(result, path=result.path[-1:]).save(path)


def _cells(methods: str, queries: str, seeds: str) -> Iterator[tuple[str, str, int, int]]:
    """Name, method, queries and seed. A method that cannot be bounded has 0 queries, and comes once for each seed."""
    for method in methods.split(","):
        if method not in METHODS:
            raise typer.BadParameter(f"--methods must be of {', '.join(METHODS)}, got {method!r}")
        for allowed in [0] if method in UNBOUNDED else _integers(queries):
            for seed in _integers(seeds):
                yield method if method in UNBOUNDED else f"{method}-{allowed}", method, allowed, seed


@app.command()
def report(
    data: Data = "digits",
    images: Annotated[int | None, typer.Option(help="Number of images, from --first on.  [default: all]")] = None,
    first: int = 0,
    split: Split = "test",
    against: Annotated[
        str, typer.Option(help="A row, by whose L1 and realism those of the others are divided.")
    ] = "paper-10000",
    out: Path = OUT,
    models: ModelFolder = MODELS,
    csv_file: Annotated[Path | None, typer.Option("--csv")] = None,
    plot: Path | None = None,
    by_target_probability: Annotated[
        bool, typer.Option("--by-target-probability", help="Also print how often the judge agrees by that.")
    ] = False,
    by_seeds: Annotated[bool, typer.Option("--by-seed", help="Also print a row for each seed.")] = False,
    by_changes: Annotated[
        bool, typer.Option("--by-change", help="Also print between which classes the judge disagrees.")
    ] = False,
) -> None:
    """Print a table of the finished counterfactuals in --out, a row for each method and number of queries."""
    chosen = range(first, 10**9 if images is None else first + images)
    judge = load_judge(data, models)
    found = read_finished(out / f"{data}-{split}", judge, chosen, list(METHODS))
    if not found:
        raise typer.BadParameter(f"nothing is finished in {out / f'{data}-{split}'}; start 'run' first")
    rows = [summarise_row(name, each, found.get(against)) for name, each in found.items()]
    rows.sort(key=lambda row: (list(METHODS).index(row.method), row.allowed or 0))
    print("\n".join(markdown(rows, against)))
    if by_target_probability:
        print("", *by_probability(found), sep="\n")
    if by_seeds:
        print("", *by_seed(found), sep="\n")
    if by_changes:
        print("", *by_change(found), sep="\n")
    if csv_file is not None:
        write_csv(rows, csv_file, data=data, split=split, against=against)
    if plot is not None:
        plot.parent.mkdir(parents=True, exist_ok=True)
        draw(rows, f"{data}, {split} images", list(METHODS)).savefig(plot, dpi=150)


@app.command()
def mnist_folder(mnist: MnistFile = MNIST, out: Path = Path("mnist")) -> None:
    """Write MNIST as pictures for `freemcg train`, padded to 32x32: OUT/train/0/00000.png and so on."""
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
        raise typer.BadParameter(f"give whole numbers with commas between them, got {listed!r}") from None


if __name__ == "__main__":
    app()
