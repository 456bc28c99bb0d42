"""Training images: the digits by name, a folder of pictures with one subfolder per class (or none), or one file."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from freemcg.files.images import decode, prepare
from freemcg.files.listing import list_images
from freemcg.messages.errors import InvalidValue
from freemcg.models.digits import CLASS_NAMES, load_scans, render
from freemcg.training.packed import Pictures, open_packed


@dataclass(frozen=True)
class ImageSet:
    """Images held in memory as uint8 `(N, C, H, W)`, with labels `(N,)` int64 if they are known."""

    images: Tensor
    labels: Tensor | None = None
    class_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor | None]:
        """The images at `indices`, float in [0, 1], and their labels."""
        labels = None if self.labels is None else self.labels[indices]
        return self.images[indices].float() / 255, labels

    def split(self, share: float, seed: int) -> tuple[ImageSet, ImageSet]:
        """Two sets of the images. The second holds `share` of them, drawn with `seed`."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        held = round(share * len(self))
        parts = []
        for chosen in (order[held:], order[:held]):
            labels = None if self.labels is None else self.labels[chosen]
            parts.append(ImageSet(self.images[chosen], labels, self.class_names))
        return parts[0], parts[1]

    def shuffled(self, seed: int) -> ImageSet:
        """The images with their labels in random order, so that a label tells nothing of its image."""
        assert self.labels is not None
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return replace(self, labels=self.labels[order])


def load_training_images(data: str, *, channels: int, image_size: int, progress: bool = True) -> ImageSet:
    """Load the training images named by a config.

    Args:
        data: `"digits"` (the training half of the fixed split), a folder, or a file that `freemcg.training.packed`
            reads. Subfolders of a folder are classes, in alphabetical order. A folder without subfolders is unlabelled.
        channels: 1 (grey) or 3 (RGB).
        image_size: side in pixels. Pictures are resized so that the shorter side fits, and cropped at the centre.
        progress: show a bar over the images.

    Raises:
        FileNotFoundError: the folder does not exist or holds no image.
        ValueError: the config gives the digits another size or colour, or the file is wrong or damaged.
    """
    if data == "digits":
        if (channels, image_size) != (1, 32):
            raise InvalidValue(f"digits are 1x32x32 images; the config asks for {channels}x{image_size}x{image_size}")
        scans, labels = load_scans("train")
        return ImageSet(render(scans), labels, CLASS_NAMES)
    path, size = Path(data), (image_size, image_size)
    found = open_packed(path) if path.is_file() else _open_folder(path)
    images = torch.empty(found.count, channels, *size, dtype=torch.uint8)
    bar = tqdm(found.pictures(), total=found.count, desc="reading images", disable=not progress)
    for index, picture in enumerate(bar):
        images[index] = (prepare(picture, channels=channels, size=size) * 255).round().to(torch.uint8)
    return ImageSet(images, found.labels, found.class_names)


def _open_folder(folder: Path) -> Pictures:
    paths = list_images(folder)
    class_names = tuple(sorted({path.relative_to(folder).parts[0] for path in paths if path.parent != folder}))
    if class_names and any(path.parent == folder for path in paths):
        raise InvalidValue(
            f"{folder} holds pictures both beside and inside class folders; move them all into class folders"
        )
    labels = None
    if class_names:
        labels = torch.tensor([class_names.index(path.relative_to(folder).parts[0]) for path in paths])
    return Pictures(len(paths), lambda: (decode(path)[0] for path in paths), labels, class_names)


@dataclass(frozen=True)
class Augmentation:
    """Ranges of a random affine change: rotation in degrees, relative scale and shear, shift in pixels, mirroring."""

    rotation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    shift: float = 0.0
    mirror: bool = False

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Change each image of `(N, C, H, W)` by its own draw. Pixels from outside repeat the border."""
        count = len(images)

        def uniform(reach: float) -> Tensor:
            return (2 * torch.rand(count, generator=generator) - 1) * reach

        angle, shear = uniform(math.radians(self.rotation)), uniform(self.shear)
        size_x, size_y = uniform(self.scale).exp(), uniform(self.scale).exp()
        flip = torch.where(uniform(1.0) < 0, -1.0, 1.0) if self.mirror else torch.ones(count)
        shift_x, shift_y = (
            uniform(2 * self.shift / images.shape[3]),
            uniform(2 * self.shift / images.shape[2]),
        )
        if self == Augmentation():
            return images
        cos, sin = angle.cos(), angle.sin()
        rows = [
            torch.stack([size_x * cos * flip, size_x * (shear * cos - sin), shift_x], dim=1),
            torch.stack([size_y * sin * flip, size_y * (shear * sin + cos), shift_y], dim=1),
        ]
        theta = torch.stack(rows, dim=1).to(images.device)
        grid = F.affine_grid(theta, list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
