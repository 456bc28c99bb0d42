"""The models and held-out images in the package, on which everything can be tried without a download."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

from freemcg.diffusion.denoiser import Denoiser
from freemcg.messages.errors import InvalidValue
from freemcg.models.architectures import ConvVAE, load_network
from freemcg.models.digits import CLASS_NAMES, render

BUNDLES = ("digits",)


@dataclass(frozen=True)
class Bundle:
    """Models and held-out images.

    Attributes:
        denoiser: a diffusion model of the images.
        classifier, judge: two networks of different architecture, trained apart. They map images in [0, 1] to logits.
        vae: a variational autoencoder.
        images: held-out images, `(N, C, H, W)` in [0, 1]. No model here was trained on them.
        labels: `(N,)`.
        class_names: the names of the classes, in the order of the logits.
    """

    denoiser: Denoiser
    classifier: nn.Module
    judge: nn.Module
    vae: ConvVAE
    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]


def bundle_folder(name: str) -> Path:
    """The folder of a bundle, with the subfolders `denoiser`, `classifier`, `judge` and `vae`.

    Raises:
        ValueError: there is no bundle of that name.
    """
    if name not in BUNDLES:
        raise InvalidValue(f"there is no bundle {name!r}; bundled are {', '.join(BUNDLES)}")
    return Path(__file__).parent / "bundles" / name


def load_bundle(name: str = "digits") -> Bundle:
    """Load a bundle: `"digits"`, 450 held-out 32x32 images of handwriting (see `freemcg.models.digits`).

    Raises:
        ValueError: there is no bundle of that name.
    """
    folder = bundle_folder(name)
    held_out = load_file(folder / "held_out.safetensors")
    vae, _ = load_network(folder / "vae")
    assert isinstance(vae, ConvVAE)
    denoiser = Denoiser.from_pretrained(folder / "denoiser")
    denoiser.name = name
    return Bundle(
        denoiser=denoiser,
        classifier=load_network(folder / "classifier")[0].requires_grad_(False),
        judge=load_network(folder / "judge")[0].requires_grad_(False),
        vae=vae.requires_grad_(False),
        images=render(held_out["scans"]).float() / 255,
        labels=held_out["labels"],
        class_names=CLASS_NAMES,
    )
