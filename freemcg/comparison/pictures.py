"""The images of a comparison, by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from freemcg.diffusion.denoiser import Denoiser
from freemcg.files.images import decode, prepare_for
from freemcg.jobs.listing import list_pictures
from freemcg.jobs.unreadable import check_some_are_left, read_each
from freemcg.messages.errors import InvalidValue
from freemcg.models.bundle import load_bundle


@dataclass(frozen=True)
class Picture:
    """A picture of the user's own, decoded once.

    Attributes:
        path: its file.
        image: `(C, H, W)` in [0, 1], as the denoiser takes it, on its device.
        size: the width and the height of the file in pixels.
    """

    path: Path
    image: Tensor
    size: tuple[int, int]


def read_pictures(images: Path, out: Path, denoiser: Denoiser) -> tuple[dict[str, Picture], dict[str, str]]:
    """One picture, or all in a folder and its subfolders, by path, with the size and channels of the denoiser.

    The second mapping holds the reason for each picture that cannot be read.

    Args:
        images: the picture or the folder.
        out: the folder of the results. Pictures in it are left out.

    Raises:
        FileNotFoundError, ValueError, NotADirectoryError: as `list_pictures`; or no picture can be read.
    """

    def read(path: Path) -> Picture:
        decoded, _ = decode(path)
        return Picture(path, prepare_for(denoiser, decoded).to(denoiser.device), decoded.size)

    listing = list_pictures(images, out)
    found, unreadable = read_each(listing.files, read, alone=listing.alone)
    check_some_are_left(listing, unreadable.values())
    return found, unreadable


def read_references(folder: Path, out: Path, denoiser: Denoiser) -> tuple[list[str], Tensor]:
    """The names of the pictures in a folder, and themselves as `(M, C, H, W)`, as the denoiser takes them.

    Raises:
        FileNotFoundError, ValueError, NotADirectoryError: as `list_pictures`; or a picture cannot be read.
    """
    found, unreadable = read_pictures(folder, out, denoiser)
    _refuse_unreadable(unreadable)
    images = [each.image for each in found.values()]
    if len({image.shape for image in images}) > 1:
        raise InvalidValue(f"the references in {folder} have several sizes; save them with the same")
    return list(found), torch.stack(images)


def names_of_references(folder: Path, out: Path) -> list[str]:
    """The names that `read_references` answers. It refuses the same, but for the sizes, which need the denoiser.

    Raises:
        FileNotFoundError, ValueError, NotADirectoryError: as `read_references`.
    """
    listing = list_pictures(folder, out)
    found, unreadable = read_each(listing.files, lambda path: decode(path)[1], alone=listing.alone)
    check_some_are_left(listing, unreadable.values())
    _refuse_unreadable(unreadable)
    return list(found)


def _refuse_unreadable(reasons: dict[str, str]) -> None:
    if reasons:
        raise InvalidValue(f"a reference cannot be read: {min(reasons.values())}")


def bundled_digits(count: int, denoiser: Denoiser) -> dict[str, Tensor]:
    """The first `count` of the bundled digits, on the denoiser's device. No bundled model was trained on them.

    Raises:
        ValueError: `count` is less than 1, or there are fewer digits.
    """
    names, images = digit_names(count), load_bundle("digits").images
    return {name: image.to(denoiser.device) for name, image in zip(names, images, strict=False)}


def digit_names(count: int) -> list[str]:
    """The names of the first `count` of the bundled digits.

    Raises:
        ValueError: as `bundled_digits`.
    """
    known = len(load_bundle("digits").images)
    if not 1 <= count <= known:
        raise InvalidValue(f"images must be 1..{known}, the bundled digits, got {count}")
    return [f"digit-{index:03}" for index in range(count)]
