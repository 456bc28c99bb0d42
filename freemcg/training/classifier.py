"""Training of a small classifier: one to explain, or a judge that is trained apart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from freemcg.files.whole import write_text
from freemcg.messages.errors import InvalidValue
from freemcg.models.architectures import NETWORKS, save_network
from freemcg.models.digits import load_scans, render
from freemcg.training.adversarial import attack
from freemcg.training.data import ImageSet, load_training_images
from freemcg.training.loop import start_accelerator, train
from freemcg.training.settings import Training


class ClassifierTraining(Training):
    """Config of `freemcg train classifier`."""

    network: str = Field("conv_classifier", pattern="^(conv|residual|shallow)_classifier$")
    width: int = Field(16, ge=4, description="channels of the first stage")
    class_names: list[str] | None = Field(None, description="names of the classes, if the data has only their numbers")
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    holdout: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="share of a folder's images kept for the accuracy; digits have a test split",
    )
    shuffled_labels: bool = Field(
        False, description="train on labels in random order (Zhang et al. 2017), so that nothing but noise is learnt"
    )
    adversarial: bool = Field(False, description="train on attacked images: see freemcg.training.adversarial")
    radius: float = Field(1.0, gt=0, description="largest L2 distance that an attack moves an image in [0, 1]")
    attack_steps: int = Field(10, ge=1, description="gradients an attack")


def train_classifier(settings: ClassifierTraining, out: Path) -> dict[str, Any]:
    """Train, and write `model.safetensors`, `config.json` and `training.json` (with the held-out accuracy) to `out`.

    Raises:
        ValueError: the images have no labels, or `class_names` names another number of classes.
    """
    accelerator = start_accelerator()
    images = load_training_images(
        settings.data,
        channels=settings.channels,
        image_size=settings.image_size,
        progress=accelerator.is_main_process,
    )
    if images.labels is None:
        raise InvalidValue(f"{settings.data} has no classes; a classifier needs one subfolder a class")
    images = _named(images, settings)
    if settings.data == "digits":
        scans, labels = load_scans("test")
        held_out = ImageSet(render(scans), labels, images.class_names)
    else:
        images, held_out = images.split(settings.holdout, settings.seed)
    if settings.shuffled_labels:
        images = images.shuffled(settings.seed)
    arguments = {
        "channels": settings.channels,
        "classes": len(images.class_names),
        "image_size": settings.image_size,
        "width": settings.width,
    }
    torch.manual_seed(settings.seed)
    network = NETWORKS[settings.network](**arguments)

    def loss(model: nn.Module, batch: Tensor, labels: Tensor | None, generator: torch.Generator) -> Tensor:
        assert labels is not None
        if settings.adversarial:
            batch = attack(
                network, batch, labels, radius=settings.radius, steps=settings.attack_steps, generator=generator
            )
        return F.cross_entropy(model(batch), labels, label_smoothing=settings.label_smoothing)

    trained, record = train(network, loss, images, settings, out, accelerator)
    if accelerator.is_main_process:
        record["held_out_images"] = len(held_out)
        record["held_out_accuracy"] = accuracy(trained, held_out)
        names = list(images.class_names)
        save_network(trained, out, settings.network, arguments, class_names=names)
        write_text(out / "training.json", json.dumps(record, indent=2) + "\n")
    return record


def _named(images: ImageSet, settings: ClassifierTraining) -> ImageSet:
    names, classes = settings.class_names, len(images.class_names)
    if names is None:
        return images
    if len(names) != classes:
        raise InvalidValue(
            f"class_names must name the {classes} classes of {settings.data}, got {', '.join(names)}; "
            "name one after another, in the order of their numbers"
        )
    return replace(images, class_names=tuple(names))


@torch.no_grad()
def accuracy(network: nn.Module, images: ImageSet) -> float:
    """The share of `images` for which the network decides the label."""
    device = next(network.parameters()).device
    right = 0
    for indices in torch.arange(len(images)).split(256):
        batch, labels = images.batch(indices)
        assert labels is not None
        right += int((network(batch.to(device)).argmax(dim=1).cpu() == labels).sum())
    return right / len(images)
