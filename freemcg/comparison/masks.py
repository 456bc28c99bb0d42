"""Masks of a comparison: where the object of a picture is. They come from a folder, a picture each."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from freemcg.comparison.cells import Cell
from freemcg.comparison.measures import MASK, MEASURES
from freemcg.comparison.pictures import Picture
from freemcg.diffusion.denoiser import Denoiser
from freemcg.files.images import decode, prepare
from freemcg.messages.errors import InvalidValue


def read_masks(folder: Path, pictures: Mapping[str, Picture], denoiser: Denoiser) -> dict[str, Tensor]:
    """The mask of each picture, `(H, W)` bool, by the picture's name. It is resized and cropped as the picture is.

    The mask of `a/b.jpg` is `a/b.png` in the folder. It has the size of that picture; what is nearer to white than to
    black is the object.

    Args:
        folder: the folder of the masks.
        pictures: by path below their own folder.

    Raises:
        FileNotFoundError: there is no such folder, or a picture has no mask in it.
        ValueError: a mask has another size than its picture, or it is empty once it is cropped.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder} of masks")
    return {name: _read(folder / Path(name).with_suffix(".png"), each, denoiser) for name, each in pictures.items()}


def _read(path: Path, picture: Picture, denoiser: Denoiser) -> Tensor:
    if not path.is_file():
        raise FileNotFoundError(f"{picture.path} has no mask: there is no file {path}")
    mask, _ = decode(path)
    if mask.size != picture.size:
        raise InvalidValue(
            f"the mask {path} is {_by(mask.size)}, but its picture {picture.path} is {_by(picture.size)}; save it with "
            "the size of the picture"
        )
    inside = prepare(mask, channels=1, size=denoiser.image_size)[0] >= 0.5
    if not inside.any():
        raise InvalidValue(
            f"the mask {path} is empty where its picture is looked at; draw the object in white, or leave both out"
        )
    return inside.to(denoiser.device)


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def check_masks(masks: Mapping[str, Tensor] | None, images: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The masks, if they fit their images.

    Raises:
        ValueError: there are none, or an image has none, or one has another size or holds nothing.
    """
    masks = masks or {}
    for name, image in images.items():
        if name not in masks:
            raise InvalidValue(f"the measure mask needs a mask for {name}; give --masks, or leave the measure out")
        if masks[name].shape != image.shape[1:] or not masks[name].any():
            raise InvalidValue(
                f"the mask of {name} must have its {image.shape[1]}x{image.shape[2]} pixels and not be empty, got "
                f"{'x'.join(map(str, masks[name].shape))} with {int(masks[name].sum())} inside"
            )
    return masks


def mask_digest(mask: Tensor) -> str:
    """A digest of a mask, by which a cell knows with what its figures were taken."""
    return hashlib.sha256(mask.cpu().numpy().tobytes()).hexdigest()[:16]


def without_mask(cell: Cell) -> Cell:
    """The cell without the figures that were taken with a mask."""
    stale = {column.name for column in MEASURES[MASK].columns}
    return replace(cell, figures={name: value for name, value in cell.figures.items() if name not in stale})
