"""Images whose tangent spaces are known exactly, for alignment.py: those of a VAE, and those of the renderer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import torch
from data_sets import MNIST, load_classifier, load_judge, read_mnist
from torch import Tensor

from freemcg.files.bundles import bundle_folder
from freemcg.models.architectures import ConvVAE
from freemcg.models.bundle import load_bundle
from freemcg.models.digits import load_scans, render
from manifolds import KnownManifold, drawn_latents, generated, reconstructed
from manifolds.renderer import renderer_tangent_space, sample

ROUTES = {"digits": ("drawn", "reconstructed"), "mnist": ("drawn", "reconstructed"), "shapes": ("rendered",)}
HELD_OUT = 1_000_000  # added to seeds, since classifiers of drawn images and of shapes are trained on those of seed 0
CHUNK = 500


def check_route(data: str, route: str) -> None:
    if data not in ROUTES or route not in ROUTES[data]:
        known = "; ".join(f"{name}: {', '.join(routes)}" for name, routes in ROUTES.items())
        raise ValueError(f"there is no route {route!r} to images of {data!r}; there are {known}")


def load_vae(data: str, models: Path) -> ConvVAE:
    """Load the VAE of the digits from the bundle, and any other from the folder `models`."""
    folder = bundle_folder("digits") / "vae" if data == "digits" else models / f"{data}-vae"
    return cast(ConvVAE, load_classifier(folder))


def known_images(data: str, route: str, models: Path, *, count: int, seed: int, mnist: Path = MNIST) -> KnownManifold:
    """Images that no model here was trained on, with their tangent spaces."""
    check_route(data, route)
    if data == "shapes":
        shapes = sample(count, HELD_OUT + seed)
        return KnownManifold(shapes.images, shapes.factors, shapes.labels, renderer_tangent_space(shapes.factors))
    vae = load_vae(data, models)
    if route == "drawn":
        judge = load_judge(data, models)
        return generated(vae.decode, judge, latent=latent_of(vae), count=count, seed=HELD_OUT + seed)
    if data == "mnist":
        images, labels = read_mnist(mnist, "test")
        images = images.float() / 255
    else:
        bundle = load_bundle("digits")
        images, labels = bundle.images, bundle.labels
    return reconstructed(vae.encode, vae.decode, images[:count], labels[:count])


@torch.no_grad()
def training_images(
    data: str, route: str, models: Path, *, count: int, mnist: Path = MNIST
) -> Iterator[tuple[Tensor, int]]:
    """Images `(1, 32, 32)` in [0, 1] by a route of a VAE, and their labels, to train a classifier on.

    The route `reconstructed` gives all training images, but at most `count`.
    """
    check_route(data, route)
    if data == "shapes":
        raise ValueError("python -m manifolds.renderer makes pictures of shapes; run that")
    vae = load_vae(data, models)
    if route == "drawn":
        latents, labels = drawn_latents(
            vae.decode, load_judge(data, models), latent=latent_of(vae), count=count, seed=0
        )
    else:
        if data == "mnist":
            images, labels = read_mnist(mnist, "train")
        else:
            scans, labels = load_scans("train")
            images = render(scans)
        latents = torch.cat([vae.encode(part.float() / 255) for part in images[:count].split(CHUNK)])
    for part, names in zip(latents.split(CHUNK), labels[:count].split(CHUNK), strict=True):
        yield from zip(vae.decode(part), names.tolist(), strict=True)


def latent_of(vae: ConvVAE) -> int:
    """The dimensions of a VAE's latents."""
    first = vae.decoder[0]
    return cast(torch.nn.Linear, first).in_features
