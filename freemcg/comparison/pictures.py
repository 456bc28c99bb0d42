"""The images of a comparison, by name."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from freemcg.diffusion.denoiser import Denoiser
from freemcg.files.images import read_for
from freemcg.jobs.items import list_items
from freemcg.messages.errors import InvalidValue
from freemcg.models.bundle import load_bundle


def read_pictures(images: Path, out: Path, denoiser: Denoiser) -> dict[str, Tensor]:
    """One picture, or all in a folder and its subfolders, by path, with the size and channels of the denoiser.

    Args:
        images: the picture or the folder.
        out: the folder of the results. Pictures in it are left out.

    Raises:
        FileNotFoundError, ValueError, NotADirectoryError: as `freemcg.jobs.items.list_items` and `read_image`.
    """
    return {item.name: read_for(denoiser, item.image) for item in list_items(images, out)}


def bundled_digits(count: int, denoiser: Denoiser) -> dict[str, Tensor]:
    """The first `count` of the bundled digits, on the denoiser's device. No bundled model was trained on them.

    Raises:
        ValueError: `count` is less than 1, or there are fewer digits.
    """
    images = load_bundle("digits").images
    if not 1 <= count <= len(images):
        raise InvalidValue(f"images must be 1..{len(images)}, the bundled digits, got {count}")
    return {f"digit-{index:03}": images[index].to(denoiser.device) for index in range(count)}
