"""The models and held-out images in the package, on which everything can be tried without a download."""

from __future__ import annotations

from dataclasses import dataclass

from safetensors.torch import load_file
from torch import Tensor, nn

from freemcg.diffusion.denoiser import Denoiser
from freemcg.files.bundles import bundle_folder, bundles_with
from freemcg.messages.errors import InvalidValue
from freemcg.models.architectures import ConvVAE, load_network
from freemcg.models.digits import render


@dataclass(frozen=True)
class Bundle:
    """Models and held-out images.

    Attributes:
        denoiser: a diffusion model of the images.
        classifier, judge: two networks of different architecture, trained apart. They map images in [0, 1] to logits.
        vae: a variational autoencoder, or `None`: only the digits have one.
        images: held-out images, `(N, C, H, W)` in [0, 1]. No model here was trained on them.
        labels: `(N,)`.
        class_names: the names of the classes, in the order of the logits.
    """

    denoiser: Denoiser
    classifier: nn.Module
    judge: nn.Module
    vae: ConvVAE | None
    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]


def load_bundle(name: str = "digits") -> Bundle:
    """Load a bundle.

    Args:
        name: `"digits"`, 450 held-out 32x32 images of handwriting (see `freemcg.models.digits`); or `"chest-xrays"`,
            468 held-out 28x28 X-rays of chests, normal or with pneumonia (PneumoniaMNIST, CC BY 4.0).

    Raises:
        ValueError: there is no bundle of that name, or it holds a denoiser alone, as `"cifar10"` does.
    """
    folder = bundle_folder(name)
    if name not in bundles_with("classifier"):
        raise InvalidValue(f"the bundle {name} holds a denoiser alone; load it by Denoiser.from_pretrained({name!r})")
    held_out = load_file(folder / "held_out.safetensors")
    pictures = render(held_out["scans"]) if "scans" in held_out else held_out["images"]
    classifier, config = load_network(folder / "classifier")
    judge, _ = load_network(folder / "judge")
    return Bundle(
        denoiser=Denoiser.from_pretrained(name),
        classifier=classifier.requires_grad_(False),
        judge=judge.requires_grad_(False),
        vae=_vae(name),
        images=pictures.float() / 255,
        labels=held_out["labels"],
        class_names=tuple(config["class_names"]),
    )


def _vae(name: str) -> ConvVAE | None:
    if name not in bundles_with("vae"):
        return None
    vae, _ = load_network(bundle_folder(name) / "vae")
    assert isinstance(vae, ConvVAE)
    return vae.requires_grad_(False)
