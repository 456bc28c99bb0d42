"""Measure contributions by insertion and deletion, beside maps, RISE and Integrated Gradients.

    python tests/benchmarks/contribution.py --data digits --images 20
    python tests/benchmarks/contribution.py --data cifar10 --images 40 --noise 0.1 --estimate cross_covariance

A row is a method. Ours and RISE ask so many queries, and one more about the image itself. The last columns are the
paired differences of insertion minus deletion: from RISE with as many queries, and from Integrated Gradients. Intervals
are 95 % intervals over images, and the seeds of an image are one cluster.
"""

from __future__ import annotations

import copy
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch
import typer
from data_sets import MNIST, MODELS, Models, load_images, load_models
from torch import Tensor

import baselines
from freemcg import BlackBox
from freemcg.evaluation import insertion_deletion, mean_interval
from freemcg.gradient.estimator import Ensemble
from freemcg.gradient.objective import log_odds

app = typer.Typer(add_completion=False, help=__doc__)
QUERIES = (64, 256)
PARTICLES = 256
STEPS = 50
GRADIENTS = f"Integrated Gradients, {STEPS} gradients"


def _ours(
    data: Models, image: Tensor, target: int, seed: int, estimate: str, noise: Sequence[float]
) -> dict[str, Tensor]:
    """Maps and contributions at the first noise level, at the first two and so on, from the same answers."""
    ask, found = BlackBox(data.classifier, batch_size=PARTICLES), {}
    fresh = [
        Ensemble(data.denoiser, image, data.denoiser.timestep(level), particles=PARTICLES, seed=seed, step=step)
        for step, level in enumerate(noise)
    ]
    difference = image - image.mean(dim=(1, 2), keepdim=True)
    for levels in range(1, len(noise) + 1):
        ensembles, name = [copy.copy(each) for each in fresh[:levels]], " and ".join(map(str, noise[:levels]))
        for queries in QUERIES:
            for each in ensembles:
                each.ask(ask, queries // levels - each.queries, estimate)
            maps = [each.gradient(log_odds, target, estimate).gradient for each in ensembles]
            projected = [each.projected_gradient(log_odds, target).gradient for each in ensembles]
            found[f"map, noise {name}, {queries} queries"] = torch.stack(maps).mean(dim=0)
            found[f"contribution, noise {name}, {queries} queries"] = torch.stack(projected).mean(dim=0) * difference
    return found


@app.command()
def run(
    data: str = "digits",
    images: int = 20,
    seeds: str = "0,1",
    estimate: str = "control_variate",
    noise: str = "0.2,0.4",
    split: str = "test",
    mnist: Path = MNIST,
    models: Path = MODELS,
) -> None:
    """Measure the first --images images with each of --seeds, and print the table.

    Ours takes the first level of --noise, and then each further one as well.
    """
    began, loaded = time.monotonic(), load_models(data, models)
    asked = BlackBox(loaded.classifier, batch_size=PARTICLES)
    found: dict[str, list[list[float]]] = defaultdict(list)
    chosen, levels = [int(seed) for seed in seeds.split(",")], [float(level) for level in noise.split(",")]
    for image in load_images(data, split, count=images, mnist=mnist):
        target = asked(image[None]).argmax(dim=1)
        path = baselines.create("integrated_gradients", loaded.classifier, steps=STEPS)
        gradients = path.attribute(image[None], target)[0]
        for seed in chosen:
            maps = _ours(loaded, image, int(target), seed, estimate, levels)
            for queries in QUERIES:
                rise = baselines.create("rise", asked, queries=queries + 1, seed=seed)
                maps[f"RISE, {queries} queries"] = rise.attribute(image[None], int(target))[0]
            maps[GRADIENTS] = gradients
            for name, values in maps.items():
                areas = insertion_deletion(asked, image[None], values[None], target)
                found[name].append([areas.insertion.item(), areas.deletion.item()])
    clusters = torch.arange(images).repeat_interleave(len(chosen))
    scores = {name: torch.tensor(areas, dtype=torch.double) for name, areas in found.items()}
    difference = {name: areas[:, 0] - areas[:, 1] for name, areas in scores.items()}
    print(f"{data}, {split}: {images} images, seeds {seeds}, {estimate}; {time.monotonic() - began:.0f} s\n")
    print("| method | insertion | deletion | insertion - deletion | minus RISE | minus Integrated Gradients |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, areas in scores.items():
        rise = f"RISE, {name.rsplit(', ')[-1]}"
        means = [f"{areas[:, column].mean():.3f}" for column in (0, 1)]
        paired = [difference[name]]
        paired += [difference[name] - difference[other] for other in (rise, GRADIENTS) if other in difference]
        cells = [f"{mean_interval(values, clusters=clusters):.3f}" for values in paired]
        if rise not in difference:
            cells.insert(1, "")
        print(f"| {name} | {' | '.join([*means, *cells])} |")


if __name__ == "__main__":
    app()
