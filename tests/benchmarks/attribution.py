"""Measure attributions against reference maps of 10,000 queries.

    python tests/benchmarks/attribution.py run --data digits --images 10 --out runs/attribution
    python tests/benchmarks/attribution.py report --data digits --out runs/attribution
    python tests/benchmarks/attribution.py run --data cifar10 --images 10 --noise 0.5 --repeats 8 --out runs/photos
    python tests/benchmarks/attribution.py seconds

`run` keeps a file for each image in --out, and a second start does only what is missing. `report` prints these figures,
with 95 % intervals over images:

- the cosine with the reference, by estimate and queries;
- how many pixel values the nominal 95 % intervals cover, over repeated runs;
- the reliability that was predicted without the reference, and the true one;
- the cosine with the true projected gradient, for our map and for zeroth-order differences in pixel space.
"""

from __future__ import annotations

import copy
import json
import math
import statistics
from collections import defaultdict
from pathlib import Path

import torch
import torch.nn.functional as F
import typer
from data_sets import MNIST, MODELS, Models, load_images, load_models
from torch import Tensor

from freemcg import BlackBox, FreeMCG, load_bundle
from freemcg.diffusion.noise import generator_for
from freemcg.ensemble import cross_covariance, principal_axes
from freemcg.evaluation import mean_interval
from freemcg.gradient.estimator import Ensemble
from freemcg.gradient.objective import log_odds

app = typer.Typer(add_completion=False, help=__doc__)
REFERENCE = 10_000
QUERIES = (8, 16, 32, 64, 128)  # queries of an ensemble; a map asks one more, about the image itself
LARGE_QUERIES = (256, 512, 1024)
ESTIMATES = ("control_variate", "sigma_points", "cross_covariance", "per_particle")
REACH = 0.1
TANGENT_RANK = 64


def cosine(first: Tensor, second: Tensor) -> float:
    return F.cosine_similarity(first.flatten().double(), second.flatten().double(), dim=0).item()


def _measure(data: Models, image: Tensor, noise: float, repeats: int, large_repeats: int) -> dict[str, object]:
    """All figures of one image."""
    ask = BlackBox(data.classifier)
    target = int(ask(image[None]).argmax())
    t = data.denoiser.timestep(noise)
    pool = Ensemble(data.denoiser, image, t, particles=REFERENCE, seed=0, step=99)
    values = log_odds(ask(pool.particles.reshape(-1, *image.shape)), target)
    one = torch.ones(1)
    reference = cross_covariance(pool.particles, values[:, None], one).gradient
    halves = [cross_covariance(pool.particles[k::2], values[k::2, None], one).gradient for k in (0, 1)]
    live = pool.particles.std(dim=0) > 0.01
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    for repeat in range(repeats + large_repeats):
        large = repeat >= repeats
        counts = LARGE_QUERIES if large else QUERIES
        fresh = Ensemble(data.denoiser, image, t, particles=1024 if large else 256, seed=1 + repeat)
        for estimate in ESTIMATES:
            ensemble = copy.copy(fresh)
            for queries in counts:
                ensemble.ask(ask, queries - ensemble.queries, estimate)
                local = ensemble.gradient(log_odds, target, estimate)
                gradient, error = local.gradient.flatten(), local.standard_error.flatten()
                relative = (error.norm() / gradient.norm()).item()
                found[f"{estimate} {queries}"].append(
                    {
                        "cosine": cosine(gradient, reference),
                        "covered": ((gradient - reference).abs() <= 1.96 * error)[live].double().mean().item(),
                        "predicted": max(0.0, 1 - relative**2) if math.isfinite(relative) else math.nan,
                    }
                )
    return {
        "noise": noise,
        "halves": cosine(*halves),
        "estimates": found,
        "projected": _projected(data, image, target, pool),
    }


def _projected(data: Models, image: Tensor, target: int, pool: Ensemble) -> dict[str, list[float]]:
    """Cosine with the true gradient at the image, projected on the leading axes of the particles.

    Our estimate asks along those axes, at a short reach. Zeroth-order differences ask in pairs, in random directions of
    pixel space, and are projected on the same axes.
    """
    axes = principal_axes(pool.particles[:1024])
    basis = axes.directions[:TANGENT_RANK]
    leaf = image.clone().requires_grad_(True)
    log_odds(data.classifier(leaf[None]).log_softmax(dim=1), target).backward()
    assert leaf.grad is not None
    truth = basis @ leaf.grad.flatten()
    ask = BlackBox(data.classifier)

    def objective(points: Tensor) -> Tensor:
        return log_odds(ask(points.reshape(-1, *image.shape).clamp(0, 1)), target)

    found: dict[str, list[float]] = {}
    flat, generator = image.flatten(), generator_for(0, "zeroth order")
    for queries in (*QUERIES, *LARGE_QUERIES):
        count = min(queries - 1, TANGENT_RANK)
        points = torch.cat([flat[None], flat + REACH * axes.variances[:count].sqrt()[:, None] * basis[:count]]).clamp(
            0, 1
        )
        values = objective(points)
        moves, rises = points[1:] - points[0], values[1:] - values[0]
        ours = torch.linalg.lstsq(moves.double(), rises.double()[:, None]).solution[:, 0].float()
        noise = 0.01 * torch.randn(queries // 2, len(flat), generator=generator)
        upper, lower = (flat + noise).clamp(0, 1), (flat - noise).clamp(0, 1)
        pixels = (objective(upper) - objective(lower)) @ (upper - lower)
        found[str(queries)] = [cosine(basis @ ours, truth), cosine(basis @ pixels, truth)]
    return found


@app.command()
def run(
    data: str = "digits",
    images: int = 10,
    first: int = 0,
    out: Path = Path("runs/attribution"),
    split: str = "test",
    mnist: Path = MNIST,
    models: Path = MODELS,
    noise: float = 0.2,
    repeats: int = 20,
    large_repeats: int = 2,
) -> None:
    """Measure --images images, one file each. Up to 128 queries take --repeats seeds, and more take --large-repeats.

    Each noise level needs an --out of its own.
    """
    loaded = load_models(data, models)
    for index, image in enumerate(load_images(data, split, first=first, count=images, mnist=mnist), start=first):
        path = out / data / split / f"{index:04d}.json"
        if not path.is_file():
            measured = _measure(loaded, image, noise, repeats, large_repeats)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".partial").write_text(json.dumps(measured))
            path.with_suffix(".partial").replace(path)
            print(path, flush=True)


@app.command()
def report(data: str = "digits", out: Path = Path("runs/attribution"), split: str = "test") -> None:
    """Print the tables."""
    measured = [json.loads(path.read_text()) for path in sorted((out / data / split).glob("*.json"))]
    noise, halves = measured[0]["noise"], _mean([each["halves"] for each in measured])
    print(f"{data}: {len(measured)} images at noise {noise:g}; halves of the references agree to {halves}")
    print("\n| estimate | queries | cosine with the reference | squared, and predicted | coverage of 95 % |")
    print("| --- | --- | --- | --- | --- |")
    for estimate in ESTIMATES:
        for queries in (*QUERIES, *LARGE_QUERIES):
            runs = [m["estimates"][f"{estimate} {queries}"] for m in measured]
            cells = {key: [statistics.fmean(each[key] for each in image) for image in runs] for key in runs[0][0]}
            squared = statistics.fmean(each["cosine"] ** 2 for image in runs for each in image)
            bars = not any(math.isnan(value) for value in cells["predicted"])
            predicted = f"{squared:.3f}, {statistics.fmean(cells['predicted']):.3f}" if bars else f"{squared:.3f}, -"
            covered = _mean(cells["covered"]) if bars else "none offered"
            print(f"| {estimate} | {queries + 1} | {_mean(cells['cosine'])} | {predicted} | {covered} |")
    print("\n| queries | ours, with the projected gradient | zeroth order in pixel space |")
    print("| --- | --- | --- |")
    for queries in measured[0]["projected"]:
        pairs = [m["projected"][queries] for m in measured]
        print(f"| {queries} | {_mean([pair[0] for pair in pairs])} | {_mean([pair[1] for pair in pairs])} |")


def _mean(values: list[float]) -> str:
    return f"{mean_interval(torch.tensor(values)):.3f}"


@app.command()
def seconds(images: int = 20) -> None:
    """Print the seconds of one attribution of the digits with the defaults."""
    bundle = load_bundle("digits")
    explainer = FreeMCG(bundle.classifier, bundle.denoiser)
    explainer.explain(bundle.images[0])
    results = [explainer.explain(image) for image in bundle.images[:images]]
    taken = [result.seconds for result in results]
    print(f"{images} attributions, {results[0].queries} queries each, {torch.get_num_threads()} threads")
    print(f"seconds: median {statistics.median(taken):.2f}, most {max(taken):.2f}")


if __name__ == "__main__":
    app()
