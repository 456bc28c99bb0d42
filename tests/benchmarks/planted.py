"""Who finds a planted mark? Digits with a bright mark whose place gives the class away, so the truth is known.

    python tests/benchmarks/planted.py pictures --out planted
    freemcg train classifier --config planted/classifier.yaml --data planted/telling.npz --out runs/planted-telling
    freemcg train classifier --config planted/classifier.yaml --data planted/idle.npz --out runs/planted-idle
    freemcg train denoiser --config planted/denoiser.yaml --out runs/planted-denoiser
    python tests/benchmarks/planted.py run --models runs

There are two halves of training sets. In one (`telling`) the place of the mark is that of the label. Every other label
is drawn anew, so only the mark tells it. In the other (`idle`) the label is the digit, and the place says nothing. One
denoiser has seen marks (`seen`: it goes on from the bundled weights); the bundled one has not. The figure is the share
of held-out digits on which the largest value of the map lies on the mark. Methods that need a VAE are left out: none
here has seen marks.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from data_sets import MODELS, load_classifier
from torch import Tensor, nn

from baselines import METHODS, create, settings_within
from freemcg import BlackBox, Denoiser, FreeMCG
from freemcg.evaluation import pointing_game, share_interval
from freemcg.files.bundles import bundle_folder
from freemcg.models.bundle import load_bundle
from freemcg.models.digits import load_scans, render
from freemcg.models.load import load_denoiser
from manifolds.planted import plant

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__, rich_markup_mode=None)
CLASSES = 10
COPIES = 4
REFERENCES = 100
CLASSIFIER = """\
data: telling.npz
channels: 1
image_size: 32
network: conv_classifier
width: 16
steps: 1500
batch_size: 64
learning_rate: 0.001
weight_decay: 0.01
ema: 0.99
seed: 5
"""
DENOISER = """\
data: {folder}/seen.npz
start_from: {start}
channels: 1
image_size: 32
steps: 200
batch_size: 16
learning_rate: 0.001
warmup: 50
ema: 0.98
checkpoint_every: 100
seed: 6
"""


@app.command()
def pictures(out: Annotated[Path, typer.Option(help="Folder of the training images and configs.")]) -> None:
    """Write the training images and the configs."""
    scans, digits = load_scans("train")
    images, digits = render(scans).float().div(255).repeat(COPIES, 1, 1, 1), digits.repeat(COPIES)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(CLASSES, digits.shape, generator=generator)
    labels = torch.where(torch.arange(len(digits)) % 2 == 0, digits, drawn)
    out.mkdir(parents=True, exist_ok=True)
    for name, (of, tells, seed) in {"telling": (labels, True, 1), "idle": (digits, False, 2)}.items():
        planted = plant(images, of, classes=CLASSES, tells=tells, seed=seed)
        np.savez_compressed(out / f"{name}.npz", images=packed(planted.images), labels=of.numpy())
    seen = plant(images, digits, classes=CLASSES, tells=False, seed=3)
    np.savez_compressed(out / "seen.npz", images=packed(seen.images))
    (out / "classifier.yaml").write_text(CLASSIFIER)
    (out / "denoiser.yaml").write_text(
        DENOISER.format(folder=out.absolute(), start=bundle_folder("digits") / "denoiser")
    )


def packed(images: Tensor) -> np.ndarray:
    return (images[:, 0] * 255).round().to(torch.uint8).numpy()


@app.command()
def run(
    models: Annotated[Path, typer.Option(help="Folder of the trained models.")] = MODELS,
    images: Annotated[int, typer.Option(min=2, help="How many held-out digits.")] = 50,
    queries: Annotated[int, typer.Option(min=20, help="The most queries, or gradients, of one map.")] = 64,
    seed: int = 0,
) -> None:
    """Explain held-out digits with their own mark, and print the share of maps whose peak is on it."""
    bundle = load_bundle("digits")
    pictures, digits = bundle.images[:images], bundle.labels[:images]
    agreeing = plant(pictures, digits, classes=CLASSES, tells=True, seed=4)
    networks = {name: load_classifier(models / f"planted-{name}") for name in ("telling", "idle")}
    priors = {
        "seen": load_denoiser(str((models / "planted-denoiser").absolute())),
        "not seen": bundle.denoiser,
    }
    say_what_decides(networks, pictures, digits)
    area = agreeing.masks.float().mean()
    print(f"\n{images} images, at most {queries} queries or gradients; by chance {area:.1%}\n")
    print("| method | the mark tells | the mark says nothing |\n| --- | --- | --- |")
    for method in (*priors, *(name for name, each in METHODS.items() if not each.needs_manifold)):
        found = [
            ours(method, priors[method], network, agreeing.images, digits, queries=queries, seed=seed)
            if method in priors
            else {method: others(method, network, agreeing.images, digits, queries=queries)}
            for network in networks.values()
        ]
        for name in found[0]:
            shares = [share_interval(pointing_game(each[name], agreeing.masks) > 0.5) for each in found]
            print(f"| {name} | {' | '.join(f'{share:.1%}' for share in shares)} |", flush=True)


def say_what_decides(networks: dict[str, nn.Module], pictures: Tensor, digits: Tensor) -> None:
    """Print what the classifiers follow if the mark is at another digit's place."""
    other = (digits + 1 + torch.arange(len(digits)) % (CLASSES - 1)) % CLASSES
    conflict = plant(pictures, other, classes=CLASSES, tells=True, seed=4).images
    for name, network in networks.items():
        with torch.no_grad():
            decided = network(conflict).argmax(dim=1)
        marked, drawn = ((decided == wanted).float().mean() for wanted in (other, digits))
        print(f"{name}: of {len(digits)} images with another's mark, {marked:.1%} go by it, {drawn:.1%} by the digit")


def ours(
    prior: str, denoiser: Denoiser, network: nn.Module, images: Tensor, targets: Tensor, *, queries: int, seed: int
) -> dict[str, Tensor]:
    """Maps and contributions of FreeMCG, `(N, C, H, W)` each, from the same answers."""
    explainer = FreeMCG(BlackBox(network), denoiser, queries=queries, seed=seed)
    found = [explainer.explain(image, int(target)) for image, target in zip(images, targets, strict=True)]
    return {
        f"FreeMCG map, marks {prior} by the denoiser": torch.stack([each.values for each in found]),
        f"FreeMCG contribution, marks {prior}": torch.stack([each.contribution().values for each in found]),
    }


def others(name: str, network: nn.Module, images: Tensor, targets: Tensor, *, queries: int) -> Tensor:
    """Maps of another method at the same cost, `(N, C, H, W)`. One that takes references gets training images."""
    model = network if METHODS[name].needs_weights else BlackBox(network)
    settings = settings_within(name, queries)
    if "references" in inspect.signature(METHODS[name]).parameters:
        settings["references"] = training_images(REFERENCES)
    maps: Tensor = create(name, model, **settings).attribute(images, targets)
    return maps


def training_images(count: int) -> Tensor:
    """The first training digits with their own mark, `(count, 1, 32, 32)` in [0, 1]."""
    scans, digits = load_scans("train")
    return plant(render(scans[:count]).float().div(255), digits[:count], classes=CLASSES, tells=True, seed=1).images


if __name__ == "__main__":
    app()
