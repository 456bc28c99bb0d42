"""Images to compare methods on, by name."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from freemcg.diffusion.denoiser import Denoiser
from freemcg.files.images import read_for
from freemcg.jobs.items import list_items
from freemcg.messages.errors import InvalidValue
from freemcg.models.bundle import load_bundle


def read_pictures(images: Path, out: Path, denoiser: Denoiser) -> dict[str, Tensor]:
    """A picture, or those of a folder and its subfolders, by path, at the size and with the channels of the denoiser.

    Args:
        out: what lies in it is left out.

    Raises:
        FileNotFoundError, ValueError, NotADirectoryError: as `freemcg.jobs.items.list_items` and `read_image`.
    """
    return {item.name: read_for(denoiser, item.image) for item in list_items(images, out)}


def bundled_digits(count: int, denoiser: Denoiser) -> dict[str, Tensor]:
    """The first `count` of the bundled digits, which no bundled model was trained on, on the denoiser's device.

    Raises:
        ValueError: there are not as many.
    """
    images = load_bundle("digits").images
    if not 1 <= count <= len(images):
        raise InvalidValue(f"images must be 1..{len(images)}, the bundled digits, got {count}")
    return {f"digit-{index:03}": images[index].to(denoiser.device) for index in range(count)}
