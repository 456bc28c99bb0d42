"""How true is the direction that a search follows? Its cosine with the true manifold gradient, at every step.

    python tests/benchmarks/search_direction.py --data cifar10 --images 20 --queries 25,50,100,250,800
    python tests/benchmarks/search_direction.py --data cifar10 --images 20 --queries 100 --search "{momentum: 1}"

The true manifold gradient is the mean of the classifier's own gradients at `--particles` fresh particles of the step,
times their covariance. The search never sees it. Half of the particles makes one such gradient and the other half
another; the cosine of the two says how far the reference itself can be relied on. Of a search that begins several
rounds, the first is followed. The target is the classifier's runner-up.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
import typer
import yaml
from data_sets import MNIST, MODELS, Models, load_images, load_models
from torch import Tensor

from baselines.counted_gradient import counted_gradient, wrap_model
from freemcg import BlackBox
from freemcg.diffusion.reverse import Particles, guided_reverse
from freemcg.evaluation import mean_interval
from freemcg.gradient.directions import directions_around
from freemcg.gradient.estimator import Ensemble
from freemcg.gradient.objective import log_odds
from freemcg.settings import SharedSearch
from freemcg.tasks.shared_search import SharedGradient

REFERENCE_SEED = 7_919  # other noise than any search here

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__, rich_markup_mode=None)


def true_gradients(models: Models, point: Tensor, t: int, target: int, particles: int) -> Tensor:
    """The true manifold gradients of both halves of the particles, and of all, `(3, D)`."""
    drawn = Ensemble(models.denoiser, point, t, particles=particles, seed=REFERENCE_SEED).particles
    _, _, slopes = counted_gradient(
        wrap_model(models.classifier, "true_gradients"), log_odds, drawn.reshape(-1, *point.shape), target
    )
    parts = []
    for part in (slice(0, None, 2), slice(1, None, 2), slice(None)):
        centred = drawn[part] - drawn[part].mean(dim=0)
        parts.append(centred.T @ (centred @ slopes.flatten(1)[part].mean(dim=0)))
    return torch.stack(parts)


def cosines(models: Models, image: Tensor, search: SharedSearch, particles: int, seed: int) -> Tensor:
    """For each guided step: the cosine of the direction followed, of the newest gradient, and of the two halves."""
    directions, _ = directions_around(models.denoiser, image, seed=seed)
    settled = search.settled(directions)
    target = int(models.classifier(image[None])[0].topk(2).indices[1])
    black_box = BlackBox(models.classifier)
    guide = SharedGradient(black_box, models.denoiser, image, target, log_odds, settled, seed)
    rows = []

    def watched(now: Particles) -> Tensor:
        push = guide(now)
        first, second, both = true_gradients(models, now.points.mean(dim=0), now.t, target, particles)
        rows.append(torch.zeros(3))
        rows[-1][2] = F.cosine_similarity(first, second, dim=0)
        if guide.direction is not None and guide.local is not None:
            rows[-1][0] = F.cosine_similarity(guide.direction.flatten(), both, dim=0)
            rows[-1][1] = F.cosine_similarity(guide.local.gradient.flatten(), both, dim=0)
        return push

    for _ in guided_reverse(models.denoiser, image, settled, watched, seed=seed):
        pass
    return torch.stack(rows)


@app.command()
def main(
    data: str = "cifar10",
    queries: Annotated[str, typer.Option(help="Each is the most that one search may ask.")] = "25,50,100,250,800",
    images: int = 20,
    first: int = 0,
    split: Annotated[str, typer.Option(help="test; or train, to choose settings.")] = "test",
    search: Annotated[str, typer.Option(help="Settings of the search, in YAML.")] = "{}",
    particles: Annotated[int, typer.Option(help="Particles of the reference.")] = 256,
    seed: int = 0,
    mnist: Path = MNIST,
    models: Path = MODELS,
) -> None:
    """Print a row for each number of queries: the means over steps and images, and each third of the steps."""
    loaded = load_models(data, models)
    pictures = load_images(data, split, first=first, count=images, mnist=mnist)
    print("| queries | followed | newest gradient | followed, by thirds of the steps | reference with itself |")
    print("| --- | --- | --- | --- | --- |")
    for most in (int(each) for each in queries.split(",")):
        settings = SharedSearch(**{**yaml.safe_load(search), "queries": most})
        found = torch.stack([cosines(loaded, image, settings, particles, seed) for image in pictures])
        followed, newest, halves = (mean_interval(found[:, :, part].mean(dim=1)) for part in range(3))
        thirds = ", ".join(f"{part.mean():.2f}" for part in found[:, :, 0].chunk(3, dim=1))
        print(f"| {most} | {followed:.2f} | {newest:.2f} | {thirds} | {halves.value:.2f} |", flush=True)


if __name__ == "__main__":
    app()
