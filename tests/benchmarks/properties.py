"""Measure the properties that the paper calls essential, for the manifold gradient and for the plain gradient.

    python tests/benchmarks/properties.py --images 3
    python tests/benchmarks/properties.py --data mnist --models runs --images 20

- Model randomisation: the likeness to the map of the trained model, once the last layers are random (near 0 is right).
- Implementation invariance: the largest difference to the map of a rewritten model of the same function (0 is right).
- Fooling attack: it changes the input so that the answers stay and the gradient looks like that of another image. One
  figure is the likeness to the map before (1 is right). The other is the likeness to the map of the other image (no
  more than before is right).
- Informative change: the share of counterfactuals that also change the mind of a judge, trained apart (1 is right).

Likeness is Spearman's correlation. The decision of the trained model on the image is explained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import torch
import typer
from data_sets import MNIST, MODELS, Models, load_images, load_models
from torch import Tensor, nn

from baselines import Gradient
from freemcg import FreeMCG
from freemcg.evaluation import (
    Interval,
    cascading_randomisation,
    fool_gradient,
    implementation_difference,
    informative_changes,
    mean_interval,
    share_interval,
    spearman,
)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
Attribute = Callable[[nn.Module, Tensor], Tensor]


@app.command(help=__doc__)
def main(
    data: Annotated[str, typer.Option(help="digits or mnist.")] = "digits",
    images: int = 3,
    first: int = 0,
    split: Annotated[str, typer.Option(help="test or train.")] = "test",
    steps: Annotated[int, typer.Option(help="Steps of the fooling attack.")] = 200,
    seed: int = 0,
    mnist: Annotated[Path, typer.Option(help="MNIST as one .npz.")] = MNIST,
    models: Annotated[Path, typer.Option(help="Holds mnist-denoiser, mnist-classifier and mnist-judge.")] = MODELS,
) -> None:
    if images < 2:
        raise typer.BadParameter(
            f"--images must be >= 2, since the attack takes the map of the next image, got {images}"
        )
    pictures = load_images(data, split, first=first, count=images, mnist=mnist)
    loaded = load_models(data, models)
    with torch.no_grad():
        targets = loaded.classifier(pictures).argmax(dim=1)

    def ours(model: nn.Module, batch: Tensor) -> Tensor:
        return FreeMCG(model, loaded.denoiser, seed=seed).attribute(batch, targets)

    def gradient(model: nn.Module, batch: Tensor) -> Tensor:
        return Gradient(model).attribute(batch, targets)

    print(f"{data}, {images} {split} images from {first} on, 95 % intervals\n")
    print("| property | measure | manifold gradient | plain gradient |\n| --- | --- | --- | --- |")
    for measured in (_randomisation, _invariance):
        for name, (mine, plain) in _side_by_side(measured(loaded, pictures, each, seed) for each in (ours, gradient)):
            print(f"| {name} | {mine} | {plain} |", flush=True)
    for line in _fooling(loaded, pictures, targets, ours, gradient, steps):
        print(line, flush=True)
    explainer = FreeMCG(loaded.classifier, loaded.denoiser, seed=seed)
    informative = informative_changes([explainer.counterfactual(picture) for picture in pictures], loaded.judge)
    print(f"| informative change | the judge changes its mind too | {share_interval(informative):.2f} | |")


def _side_by_side(columns: Iterator[dict[str, str]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    mine, plain = columns
    return ((name, (mine[name], plain[name])) for name in mine)


def _randomisation(models: Models, images: Tensor, attribute: Attribute, seed: int) -> dict[str, str]:
    stages = cascading_randomisation(models.classifier, lambda model: attribute(model, images), seed=seed)
    rows = {}
    for stage in stages:
        name = f"from {stage.layer} on random" if stage.layer else "as trained"
        rows[f"model randomisation | {name}"] = f"{mean_interval(stage.signed):.2f}"
        rows[f"model randomisation | {name}, absolute values"] = f"{mean_interval(stage.absolute):.2f}"
    return rows


def _invariance(models: Models, images: Tensor, attribute: Attribute, seed: int) -> dict[str, str]:
    difference = implementation_difference(models.classifier, lambda model: attribute(model, images), seed=seed)
    return {"implementation invariance | largest difference": f"{mean_interval(difference):.1e}"}


def _fooling(
    models: Models, images: Tensor, targets: Tensor, ours: Attribute, gradient: Attribute, steps: int
) -> Iterator[str]:
    """Rows of the attack. It wants the gradient of the next image, for the class explained of the image it changes."""
    model = models.classifier
    wanted = gradient(model, images.roll(-1, dims=0))
    fooled = fool_gradient(model, images, targets, wanted, steps=steps)
    rows: dict[str, list[Interval]] = {}
    for attribute in (ours, gradient):
        before, after, bent_to = attribute(model, images).abs(), attribute(model, fooled).abs(), wanted.abs()
        for name, likeness in (
            ("like the map before", spearman(after, before)),
            ("like the wanted map, before", spearman(before, bent_to)),
            ("like the wanted map, after", spearman(after, bent_to)),
        ):
            rows.setdefault(name, []).append(mean_interval(likeness))
    for name, (mine, plain) in rows.items():
        yield f"| fooling attack | {name} | {mine:.2f} | {plain:.2f} |"
    with torch.no_grad():
        answers, bent = model(images).log_softmax(dim=1).exp(), model(fooled).log_softmax(dim=1).exp()
    moved = mean_interval((bent - answers).abs().amax(dim=1))
    reach = mean_interval((fooled - images).abs().flatten(1).mean(dim=1))
    for name, value in (("largest change of a probability", moved), ("mean change of a pixel", reach)):
        yield f"| fooling attack | {name} | {value:.3f} | {value:.3f} |"


if __name__ == "__main__":
    app()
