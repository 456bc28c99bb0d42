"""How far attributions lie in the tangent space of the images (the hypothesis of Bordt et al. 2023).

    python tests/benchmarks/alignment.py --images 200
    python tests/benchmarks/alignment.py --data mnist --models runs/mnist --images 200
    python tests/benchmarks/alignment.py --data shapes --models runs/shapes --queries 256

Every image lies on a manifold that is known: `digits` and `mnist` by both routes of `manifolds.protocol` (drawn from
the VAE's prior and labelled by the judge; held-out images reconstructed), `shapes` by the renderer. --models is a
folder with `denoiser`, `classifier`, `judge` and `vae` (shapes need the first two), as `freemcg train` makes them;
without it the bundled digits' are taken. The class explained is the one decided.

--space adds what is no exact tangent space, at the rank of the exact one: that of an `ensemble` of 256 particles (other
than those of FreeMCG), or that of the `denoiser`'s Jacobian at the same noise level.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, cast

import numpy as np
import torch
import torch.nn.functional as F
import typer
from torch import Tensor, nn
from tqdm import tqdm

from baselines import Gradient, GuidedIG, InputXGradient, IntegratedGradients, SmoothGrad
from freemcg import BlackBox, Denoiser, FreeMCG
from freemcg.bundle import bundle_folder, load_bundle
from freemcg.estimator import draw_particles
from freemcg.evaluation import mean_interval
from freemcg.networks import ConvVAE, load_network
from freemcg.seeding import generator_for
from manifolds import (
    KnownManifold,
    TangentSpace,
    denoiser_tangent_space,
    ensemble_tangent_space,
    generated,
    random_alignment,
    reconstructed,
)
from manifolds.renderer import renderer_tangent_space, sample

MNIST = Path(__file__).parents[3] / "shared" / "data" / "mnist.npz"  # beside the checkout
NOISE = 0.2  # noise level of the ensemble's and the denoiser's tangent spaces: that of an attribution
HELD_OUT_SEED = 1_000_000  # shapes are trained on from seed 0
Method = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Models:
    """What is explained, and with what."""

    folder: Path

    def network(self, name: str) -> nn.Module:
        return load_network(self.folder / name)[0].requires_grad_(False)

    def denoiser(self) -> Denoiser:
        return Denoiser.from_pretrained(self.folder / "denoiser")


def make_methods(classifier: nn.Module, denoiser: Denoiser, *, queries: int, seed: int) -> dict[str, Method]:
    """Every method that is compared, as a function of images and targets; another one is another line."""
    generator = generator_for(seed, "random directions")
    freemcg = FreeMCG(BlackBox(classifier), denoiser, queries=queries, seed=seed, progress=True)
    return {
        "random": lambda images, targets: torch.randn(images.shape, generator=generator),
        "gradient": Gradient(classifier).attribute,
        "input x gradient": InputXGradient(classifier).attribute,
        "integrated gradients": IntegratedGradients(classifier).attribute,
        "integrated gradients, averaged gradient": IntegratedGradients(classifier, multiply_by_inputs=False).attribute,
        "SmoothGrad": SmoothGrad(classifier).attribute,
        "guided IG": GuidedIG(classifier, steps=50).attribute,
        "FreeMCG": freemcg.attribute,
    }


def make_images(data: str, models: Models, count: int, seed: int) -> dict[str, KnownManifold]:
    """Images on known manifolds, by the route they came."""
    if data == "shapes":
        shapes = sample(count, HELD_OUT_SEED + seed)
        spaces = renderer_tangent_space(shapes.factors)
        return {"rendered": KnownManifold(shapes.images, shapes.factors, shapes.labels, spaces)}
    vae = cast(ConvVAE, models.network("vae"))
    if data == "digits":
        bundle = load_bundle("digits")
        images, labels = bundle.images[:count], bundle.labels[:count]
    else:
        arrays = np.load(MNIST)
        images = F.pad(torch.from_numpy(arrays["test_images"][:count])[:, None].float() / 255, (2, 2, 2, 2))
        labels = torch.from_numpy(arrays["test_labels"][:count]).long()
    latent = vae.encode(images[:1]).shape[1]
    return {
        "drawn": generated(vae.decode, models.network("judge"), latent=latent, count=count, seed=seed),
        "reconstructed": reconstructed(vae.encode, vae.decode, images, labels),
    }


def make_spaces(known: KnownManifold, denoiser: Denoiser, names: list[str], seed: int) -> dict[str, list[TangentSpace]]:
    """The exact tangent spaces, and those estimated at the same rank."""
    t = denoiser.timestep(NOISE)
    pairs = list(zip(known.images, known.tangent_spaces, strict=True))
    found = {"exact": known.tangent_spaces}
    if "ensemble" in names:
        found["ensemble"] = [
            ensemble_tangent_space(draw_particles(denoiser, image, t, 256, seed=seed + 1), rank=space.rank)
            for image, space in tqdm(pairs, desc="ensembles")
        ]
    if "denoiser" in names:
        generator = generator_for(seed, "noise of the Jacobians")
        found["denoiser"] = [
            denoiser_tangent_space(
                denoiser.differentiable(t),
                denoiser.add_noise(image, t, torch.randn(image.shape, generator=generator)),
                rank=space.rank,
                generator=generator,
            )
            for image, space in tqdm(pairs, desc="Jacobians")
        ]
    return found


def main(
    data: Annotated[str, typer.Option(help="digits, mnist or shapes.")] = "digits",
    images: Annotated[int, typer.Option(min=2, help="How many, of each route.")] = 200,
    queries: Annotated[int, typer.Option(min=2, help="Of FreeMCG, an image.")] = 64,
    models: Annotated[Path | None, typer.Option(help="Folder of the models.")] = None,
    space: Annotated[list[str] | None, typer.Option(help="ensemble or denoiser; may be repeated.")] = None,
    seed: int = 0,
) -> None:
    if data not in ("digits", "mnist", "shapes"):
        raise typer.BadParameter(f"--data must be digits, mnist or shapes, got {data!r}")
    if models is None and data != "digits":
        raise typer.BadParameter(f"--data {data} needs --models, a folder of trained models")
    found = Models(models or bundle_folder("digits"))
    classifier, denoiser = found.network("classifier"), found.denoiser()
    methods = make_methods(classifier, denoiser, queries=queries, seed=seed)
    rows = ["| images | tangent space | method | alignment | images counted |", "| --- " * 5 + "|"]
    for route, known in make_images(data, found, images, seed).items():
        logits = classifier(known.images)
        right = (logits.argmax(dim=1) == known.labels).double().mean().item()
        rank = sum(each.rank for each in known.tangent_spaces) / images
        expected = random_alignment(round(rank), known.images[0].numel())
        print(f"{data}, {route}: {images} images, classifier right on {right:.1%}, ", end="")
        print(f"mean rank {rank:.1f}, a random direction {expected:.4f}", flush=True)
        spaces = make_spaces(known, denoiser, space or [], seed)
        for method, attribute in methods.items():
            attributions = attribute(known.images, logits.argmax(dim=1))
            for name, each in spaces.items():
                pairs = zip(each, attributions, strict=True)
                values = torch.cat([tangent.alignment(attribution[None]) for tangent, attribution in pairs])
                counted = values[~values.isnan()]  # a map that is zero everywhere has no direction
                rows.append(f"| {data}, {route} | {name} | {method} | {mean_interval(counted):.3f} | {len(counted)} |")
                print(rows[-1], flush=True)
    print("\n".join(["", *rows]))


if __name__ == "__main__":
    typer.run(main)
