"""The data of the benchmarks: the bundled digits, MNIST with models that `freemcg train` made, and CIFAR-10.

Only those images of CIFAR-10 count that both networks decide right.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from resnet import load_resnet
from safetensors.torch import load_file
from torch import Tensor, nn

from freemcg import Denoiser
from freemcg.models.architectures import load_network
from freemcg.models.bundle import bundle_folder
from freemcg.models.digits import load_scans, render
from freemcg.models.load import load_denoiser

DATA = ("digits", "mnist", "cifar10")
SPLITS = ("test", "train")
MNIST = Path("../shared/data/mnist.npz")
SHARED = Path("../shared/data")
MODELS = Path("runs")


@dataclass(frozen=True)
class Models:
    """A denoiser, and two networks of different architecture, trained apart. They map images in [0, 1] to logits.

    `data` is the name of the data set.
    """

    data: str
    denoiser: Denoiser
    classifier: nn.Module
    judge: nn.Module


def load_models(data: str, folder: Path = MODELS) -> Models:
    """Load the models of a data set. Those of the digits are in the bundle.

    Those of MNIST are in `folder`: `mnist-denoiser`, `mnist-classifier` and `mnist-judge`. CIFAR-10 takes
    `cifar10-denoiser` in `folder`, or else the one among the shared data; the classifier is ResNet-20.
    """
    check_data(data)
    if data == "cifar10":
        own = folder / "cifar10-denoiser"
        denoiser = load_denoiser(str((own if own.is_dir() else SHARED / "cifar10-denoiser").absolute()))
        return Models(data, denoiser, load_resnet(SHARED / "cifar10-resnet20.safetensors"), load_judge(data, folder))
    digits = data == "digits"
    denoiser = load_denoiser("digits" if digits else str((folder / "mnist-denoiser").absolute()))
    classifier = bundle_folder("digits") / "classifier" if digits else folder / "mnist-classifier"
    return Models(data, denoiser, load_classifier(classifier), load_judge(data, folder))


def load_judge(data: str, folder: Path = MODELS) -> nn.Module:
    """Load the judge alone."""
    check_data(data)
    if data == "cifar10":
        return load_resnet(SHARED / "cifar10-resnet32.safetensors")
    return load_classifier(bundle_folder("digits") / "judge" if data == "digits" else folder / "mnist-judge")


def load_classifier(folder: Path) -> nn.Module:
    """Load a network that maps images in [0, 1] to logits, in eval mode."""
    return load_network(folder)[0].requires_grad_(False)


def load_images(data: str, split: str, *, first: int = 0, count: int, mnist: Path = MNIST) -> Tensor:
    """Images `first` to `first + count - 1` of a split, `(count, channels, 32, 32)` in [0, 1].

    Raises:
        ValueError: there is no such data set or split, or it holds fewer images.
    """
    check_data(data)
    if split not in SPLITS:
        raise ValueError(f"--split must be one of {', '.join(SPLITS)}, got {split!r}")
    if data == "cifar10":
        images = read_cifar10(split, first + count)
    elif data == "mnist":
        images = read_mnist(mnist, split)[0]
    elif split == "train":
        images = render(load_scans("train")[0])
    else:
        images = render(load_file(bundle_folder("digits") / "held_out.safetensors")["scans"])
    if first < 0 or count < 1 or first + count > len(images):
        raise ValueError(f"{data} holds {len(images)} {split} images, not {count} from {first} on; ask for fewer")
    return images[first : first + count].float() / 255


def read_mnist(path: Path, split: str) -> tuple[Tensor, Tensor]:
    """Read MNIST from an `.npz` of `train_images (N, 28, 28)`, `train_labels`, `test_images` and `test_labels`.

    Returns:
        Images `(N, 1, 32, 32)` uint8, padded by two black pixels on each side, and labels `(N,)`.
    """
    with np.load(path) as arrays:
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
    return F.pad(torch.from_numpy(images)[:, None], (2, 2, 2, 2)), torch.from_numpy(labels).long()


@torch.no_grad()
def read_cifar10(split: str, most: int) -> Tensor:
    """Read the first `most` images of a split that both networks decide right, `(N, 3, 32, 32)` uint8."""
    import pyarrow.parquet

    networks = [load_resnet(SHARED / f"cifar10-resnet{layers}.safetensors") for layers in (20, 32)]
    found: list[Tensor] = []
    for batch in pyarrow.parquet.ParquetFile(SHARED / f"cifar10-{split}.parquet").iter_batches(256):
        pictures = [Image.open(io.BytesIO(each["bytes"])).convert("RGB") for each in batch["image"].to_pylist()]
        images = torch.from_numpy(np.stack([np.asarray(each) for each in pictures])).permute(0, 3, 1, 2)
        labels = torch.tensor(batch["label"].to_pylist())
        right = torch.stack([network(images / 255).argmax(dim=1) == labels for network in networks]).all(dim=0)
        found.extend(images[right])
        if len(found) >= most:
            break
    return torch.stack(found[:most])


def check_data(data: str) -> None:
    if data not in DATA:
        raise ValueError(f"--data must be one of {', '.join(DATA)}, got {data!r}")
