"""Pictures on disk: reading them as the classifier's user sees them, writing them whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from freemcg.refusal import InvalidValue

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")


def list_images(folder: Path) -> list[Path]:
    """Every picture below `folder`, sorted by path; those that are hidden by a dot, or lie in such a folder, are not.

    Raises:
        FileNotFoundError: there is no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file() and not _is_hidden(path.relative_to(folder))
    )
    if not paths:
        raise FileNotFoundError(f"{folder} holds no picture ({', '.join(SUFFIXES)})")
    return paths


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") and not part.startswith("..") for part in path.parts)


def read_image(path: Path, *, channels: int, size: tuple[int, int] | None = None) -> Tensor:
    """Read one picture as `(channels, H, W)`, float in [0, 1].

    The EXIF orientation is applied; 16-bit grey keeps its depth; transparency is laid on white; grey and colour are
    converted as asked. With `size = (H, W)` the picture is scaled to cover it and cropped at the centre.

    Raises:
        FileNotFoundError: nothing at `path`.
        IsADirectoryError: `path` is a folder.
        ValueError: the file is no picture, or is cut short.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a picture")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with Image.open(path) as opened:
            opened.load()
            picture = ImageOps.exif_transpose(opened)
    except UnidentifiedImageError as error:
        raise InvalidValue(f"{path} is not a picture that Pillow can read") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise InvalidValue(f"{path} cannot be decoded, is it cut short? ({error})") from error
    if picture.mode in SIXTEEN_BIT_MODES:
        picture = Image.fromarray(np.asarray(picture, dtype=np.float32) / 65535)
        layers = [picture] * channels
    else:
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            white = Image.new("RGBA", picture.size, "white")
            picture = Image.alpha_composite(white, picture)
        layers = list(picture.convert("L" if channels == 1 else "RGB").split())
    if size is not None:
        layers = [ImageOps.fit(layer, (size[1], size[0]), method=Image.Resampling.BICUBIC) for layer in layers]
    arrays = [np.asarray(layer, dtype=np.float32) / (1 if layer.mode == "F" else 255) for layer in layers]
    return torch.from_numpy(np.stack(arrays)).clamp(0, 1)


def as_file(images: Tensor) -> Tensor:
    """What an 8-bit file holds of images in [0, 1]."""
    return (images * 255).round() / 255


def write_image(image: Tensor, path: Path) -> None:
    """Write `(C, H, W)` in [0, 1] as an 8-bit PNG, whole or not at all."""
    array = (image.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    picture = Image.fromarray(array[0] if len(array) == 1 else array.transpose(1, 2, 0))
    partial = path.with_name(path.name + ".partial")
    picture.save(partial, format="PNG")
    partial.replace(path)
