"""How far attributions lie in the tangent space of the images (the hypothesis of Bordt et al. 2023).

    python tests/benchmarks/alignment.py run --data digits --route drawn --images 200 --space ensemble
    python tests/benchmarks/alignment.py report

Every image lies on a manifold that is known. `digits` and `mnist` take both routes of `manifolds.known`: `drawn`
from the VAE's prior and labelled by the judge, or held-out images `reconstructed`. `shapes` come from the renderer. The
class explained is the one decided. The protocol trains the classifier on images of the same route:

    python tests/benchmarks/alignment.py pictures --data digits --route drawn --out pictures/digits-drawn
    freemcg train classifier --config manifold-classifier --data pictures/digits-drawn --out runs/digits-drawn
    python tests/benchmarks/alignment.py run --data digits --route drawn --classifier runs/digits-drawn

MNIST needs `mnist-denoiser`, `mnist-judge` and `mnist-vae` in --models. frontier.py says how to train the first two,
and `freemcg train vae --config mnist-vae` trains the third. Shapes need `shapes-denoiser` and `shapes-classifier`.
`run` keeps the attributions of each method in --out; a second start does only what is missing.

--space adds an estimated tangent space, at the rank of the exact one: that of an `ensemble` of 256 particles (not those
of FreeMCG), or that of the `denoiser`'s Jacobian at the same noise level.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from alignment_report import print_noisier, print_parts, print_table
from data_sets import MODELS, load_classifier
from known_images import check_route, known_images, load_vae, training_images
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from baselines import (
    Gradient,
    GuidedIG,
    InputXGradient,
    IntegratedGradients,
    ManifoldIG,
    SmoothGrad,
    TangentiallyAlignedIG,
)
from freemcg import BlackBox, Denoiser, FreeMCG
from freemcg.diffusion.noise import generator_for
from freemcg.diffusion.particles import draw_particles
from freemcg.files.bundles import bundle_folder
from freemcg.files.images import write_image
from freemcg.models.load import load_denoiser
from manifolds import KnownManifold, TangentSpace, denoiser_tangent_space, ensemble_tangent_space

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__, rich_markup_mode=None)
OUT = Path("runs/alignment")
SPACES = ("ensemble", "denoiser")
NOISE = 0.2  # noise level of the ensemble's and the denoiser's tangent spaces, the same as that of an attribution
Method = Callable[[Tensor, Tensor], Tensor]
Data = Annotated[str, typer.Option(help="digits, mnist or shapes.")]
Route = Annotated[str, typer.Option(help="drawn or reconstructed; for shapes, rendered.")]
ModelsFolder = Annotated[Path, typer.Option(help="Folder of the models that freemcg train made.")]


def make_methods(
    data: str,
    known: KnownManifold,
    classifier: nn.Module,
    denoiser: Denoiser,
    models: Path,
    *,
    settings: dict[str, float],
    seed: int,
) -> dict[str, Method]:
    """Every method that is compared, as a function of images and targets. Add a line to add a method."""
    generator = generator_for(seed, "random directions")
    freemcg = FreeMCG(BlackBox(classifier), denoiser, **settings, seed=seed, progress=True)
    aligned = TangentiallyAlignedIG(
        classifier,
        tangent_spaces=lambda images: known.tangent_spaces,
        steps=16,
        iterations=50,
        batch_size=len(known.images),
    )
    methods: dict[str, Method] = {
        "random direction": lambda images, targets: torch.randn(images.shape, generator=generator),
        "Gradient": Gradient(classifier).attribute,
        "SmoothGrad": SmoothGrad(classifier).attribute,
        "IG": IntegratedGradients(classifier).attribute,
        "IG, averaged gradient": IntegratedGradients(classifier, multiply_by_inputs=False).attribute,
        "Input x Gradient": InputXGradient(classifier).attribute,
        "Guided IG": GuidedIG(classifier, steps=50).attribute,
        "Tangentially Aligned IG": aligned.attribute,
        "FreeMCG, " + ", ".join(f"{value} {name}" for name, value in settings.items()): freemcg.attribute,
    }
    if data != "shapes":  # the renderer has no encoder
        methods["Manifold IG"] = ManifoldIG(classifier, vae=load_vae(data, models)).attribute
    return methods


def make_space(name: str, known: KnownManifold, denoiser: Denoiser, seed: int) -> list[TangentSpace]:
    """One tangent space for each image, estimated at the rank of the exact one."""
    t = denoiser.timestep(NOISE)
    pairs = tqdm(list(zip(known.images, known.tangent_spaces, strict=True)), desc=f"tangent spaces: {name}")
    if name == "ensemble":
        return [
            ensemble_tangent_space(draw_particles(denoiser, image, t, 256, seed=seed + 1), rank=space.rank)
            for image, space in pairs
        ]
    generator = generator_for(seed, "noise of the Jacobians")
    return [
        denoiser_tangent_space(
            denoiser.differentiable(t),
            denoiser.add_noise(image, t, torch.randn(image.shape, generator=generator)),
            rank=space.rank,
            generator=generator,
        )
        for image, space in pairs
    ]


@app.command()
def run(
    data: Data = "digits",
    route: Route = "drawn",
    classifier: Annotated[Path | None, typer.Option(help="Folder of the classifier.  [default: DATA's]")] = None,
    images: Annotated[int, typer.Option(min=2, help="How many.")] = 200,
    queries: Annotated[int, typer.Option(min=3, help="Queries of one map of FreeMCG.")] = 65,
    particles: Annotated[int | None, typer.Option(help="Particles of FreeMCG.  [default: its own]")] = None,
    noise: Annotated[float | None, typer.Option(help="Noise level of FreeMCG.  [default: its own]")] = None,
    models: ModelsFolder = MODELS,
    space: Annotated[list[str] | None, typer.Option(help="ensemble or denoiser; may be repeated.")] = None,
    method: Annotated[list[str] | None, typer.Option(help="A method; may be repeated.  [default: all]")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the attributions.")] = OUT,
    seed: int = 0,
) -> None:
    """Attribute with every method, and keep the attributions."""
    check_route(data, route)
    if not set(space or []) <= set(SPACES):
        raise typer.BadParameter(f"--space is one of {', '.join(SPACES)}")
    own = bundle_folder("digits") / "classifier" if data == "digits" else models / f"{data}-classifier"
    network = load_classifier(classifier or own)
    denoiser = load_denoiser("digits" if data == "digits" else str((models / f"{data}-denoiser").absolute()))
    known = known_images(data, route, models, count=images, seed=seed)
    targets = network(known.images).argmax(dim=1)
    folder = out / f"{data}, {route}, {classifier.name if classifier else 'classifier'}, {images} images, seed {seed}"
    (folder / "spaces").mkdir(parents=True, exist_ok=True)
    save_whole({"images": known.images, "labels": known.labels, "targets": targets}, folder / "images.safetensors")
    kept = folder / "spaces" / "exact.safetensors"
    if not kept.exists():
        save_whole({"bases": padded(known.tangent_spaces)}, kept)
    settings = {"queries": queries, "particles": particles, "noise": noise}
    settings = {name: value for name, value in settings.items() if value is not None}
    methods = make_methods(data, known, network, denoiser, models, settings=settings, seed=seed)
    if not set(method or []) <= set(methods):
        raise typer.BadParameter(f"--method is one of {', '.join(methods)}")
    for name in method or methods:
        if not (folder / f"{name}.safetensors").exists():
            print(f"{folder.name}: {name}", flush=True)
            save_whole({"values": methods[name](known.images, targets)}, folder / f"{name}.safetensors")
    for name in space or []:
        if not (folder / "spaces" / f"{name}.safetensors").exists():
            save_whole(
                {"bases": padded(make_space(name, known, denoiser, seed))}, folder / "spaces" / f"{name}.safetensors"
            )


@app.command()
def report(
    out: Annotated[Path, typer.Option(help="Folder of the attributions.")] = OUT,
    parts: Annotated[bool, typer.Option(help="Print the gradient's energy by brightness, and with noise.")] = True,
) -> None:
    """Print the alignment of every attribution that was kept, with 95 % intervals over images."""
    for folder in sorted(path.parent for path in out.glob("*/images.safetensors")):
        known = load_file(folder / "images.safetensors")
        maps = {
            path.stem: load_file(path)["values"]
            for path in sorted(folder.glob("*.safetensors"))
            if path.stem != "images"
        }
        spaces = {path.stem: load_file(path)["bases"] for path in sorted((folder / "spaces").glob("*.safetensors"))}
        right = (known["targets"] == known["labels"]).double().mean().item()
        print(f"\n{folder.name}; the classifier is right on {right:.1%}\n")
        print_table(maps, spaces)
        if parts and known["images"].shape[1] == 1:  # strokes on a dark ground
            print_parts(known["images"], maps["Gradient"], spaces["exact"])
        if parts and {"Gradient", "IG, averaged gradient"} <= set(maps):
            print_noisier(known["images"], maps["Gradient"], maps["IG, averaged gradient"], spaces["exact"])


@app.command()
def pictures(
    data: Data = "digits",
    route: Route = "drawn",
    out: Annotated[Path, typer.Option(help="Folder of the class folders.")] = Path("pictures"),
    images: Annotated[int, typer.Option(min=2, help="How many, at most.")] = 20_000,
    models: ModelsFolder = MODELS,
) -> None:
    """Write images of one of the routes into class folders, to train a classifier on."""
    for number, (image, label) in enumerate(tqdm(training_images(data, route, models, count=images), desc="pictures")):
        (out / str(label)).mkdir(parents=True, exist_ok=True)
        write_image(image, out / str(label) / f"{number:06d}.png")


def padded(spaces: list[TangentSpace]) -> Tensor:
    """The bases of spaces, `(N, largest rank, D)`, filled up with rows of zeros. These change no projection."""
    return torch.nn.utils.rnn.pad_sequence([space.basis for space in spaces], batch_first=True).float()


def save_whole(tensors: dict[str, Tensor], path: Path) -> None:
    partial = path.with_name(path.name + ".partial")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial)
    partial.replace(path)


if __name__ == "__main__":
    app()
