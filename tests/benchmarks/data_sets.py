"""The data of the benchmarks: the bundled digits and X-rays, MNIST with models that `freemcg train` made, and CIFAR-10.

Only those X-rays and images of CIFAR-10 count that both networks decide right.
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
from freemcg.files.bundles import bundle_folder
from freemcg.models.architectures import load_network
from freemcg.models.digits import load_scans, render
from freemcg.models.load import load_denoiser

DATA = ("digits", "mnist", "cifar10", "chest-xrays")
BUNDLED = ("digits", "chest-xrays")
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
    """Load the models of a data set. Those of the digits and the X-rays are in their bundles.

    Those of MNIST are in `folder`: `mnist-denoiser`, `mnist-classifier` and `mnist-judge`. CIFAR-10 takes
    `cifar10-denoiser` in `folder`, or else the one among the shared data; the classifier is ResNet-20.
    """
    check_data(data)
    if data == "cifar10":
        own = folder / "cifar10-denoiser"
        denoiser = load_denoiser(str((own if own.is_dir() else SHARED / "cifar10-denoiser").absolute()))
        return Models(data, denoiser, load_resnet(SHARED / "cifar10-resnet20.safetensors"), load_judge(data, folder))
    bundled = data in BUNDLED
    denoiser = load_denoiser(data if bundled else str((folder / "mnist-denoiser").absolute()))
    classifier = bundle_folder(data) / "classifier" if bundled else folder / "mnist-classifier"
    return Models(data, denoiser, load_classifier(classifier), load_judge(data, folder))


def load_judge(data: str, folder: Path = MODELS) -> nn.Module:
    """Load the judge alone."""
    check_data(data)
    if data == "cifar10":
        return load_resnet(SHARED / "cifar10-resnet32.safetensors")
    return load_classifier(bundle_folder(data) / "judge" if data in BUNDLED else folder / "mnist-judge")


def load_classifier(folder: Path) -> nn.Module:
    """Load a network that maps images in [0, 1] to logits, in eval mode."""
    return load_network(folder)[0].requires_grad_(False)


def load_images(data: str, split: str, *, first: int = 0, count: int, mnist: Path = MNIST) -> Tensor:
    """Images `first` to `first + count - 1` of a split, `(count, channels, H, W)` in [0, 1].

    Raises:
        ValueError: there is no such data set or split, or it holds fewer images.
    """
    check_data(data)
    if split not in SPLITS:
        raise ValueError(f"--split must be one of {', '.join(SPLITS)}, got {split!r}")
    if data == "cifar10":
        images = read_cifar10(split, first + count)
    elif data == "chest-xrays":
        images = read_xrays(split)
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


@torch.no_grad()
def read_xrays(split: str) -> Tensor:
    """Read the X-rays of a split that both networks decide right, `(N, 1, 28, 28)` uint8, in the file's order.

    The test images are in the bundle, and the training images among the shared data.
    """
    if split == "test":
        held_out = load_file(bundle_folder("chest-xrays") / "held_out.safetensors")
        images, labels = held_out["images"], held_out["labels"]
    else:
        with np.load(SHARED / "pneumonia.npz") as arrays:
            images = torch.from_numpy(arrays["train_images"])[:, None]
            labels = torch.from_numpy(arrays["train_labels"]).ravel()
    networks = [load_classifier(bundle_folder("chest-xrays") / part) for part in ("classifier", "judge")]
    right = torch.stack([network(images / 255).argmax(dim=1) == labels for network in networks]).all(dim=0)
    return images[right]


def check_data(data: str) -> None:
    if data not in DATA:
        raise ValueError(f"--data must be one of {', '.join(DATA)}, got {data!r}")
