"""Pictures inside the page, as data addresses: PNG for small ones, without loss, and WebP for larger ones."""

from __future__ import annotations

import base64
from io import BytesIO

import torch
from PIL import Image
from torch import Tensor

LOSSLESS = 96
"""Pictures up to this side, in pixels, are PNG. Larger ones are WebP."""
THUMBNAIL = 64
QUALITY = 86


def data_address(image: Tensor, largest: int | None = None) -> str:
    """A picture `(C, H, W)`, in [0, 1] or 8-bit, as an address that holds it.

    Args:
        largest: the longest side in pixels. A larger picture is reduced, and none is enlarged.
    """
    picture = _picture(image)
    if largest is not None and max(picture.size) > largest:
        picture = _reduced(picture, largest)
    kind = "PNG" if max(picture.size) <= LOSSLESS else "WEBP"
    stream = BytesIO()
    if kind == "PNG":
        picture.save(stream, format=kind, optimize=True)
    else:
        picture.save(stream, format=kind, quality=QUALITY)
    return _address(kind, stream)


def thumbnail(image: Tensor) -> str:
    """A small picture for the gallery, of at most 64 pixels a side: PNG if it was that small, else WebP."""
    picture = _picture(image)
    if max(picture.size) <= THUMBNAIL:
        return data_address(image)
    stream = BytesIO()
    _reduced(picture, THUMBNAIL).save(stream, format="WEBP", quality=75)
    return _address("WEBP", stream)


def _picture(image: Tensor) -> Image.Image:
    array = image.detach().cpu()
    if array.dtype != torch.uint8:
        array = (array.clamp(0, 1) * 255).round().to(torch.uint8)
    if len(array) not in (1, 3):
        array = array.float().mean(dim=0, keepdim=True).to(torch.uint8)
    shown = array[0].numpy() if len(array) == 1 else array.permute(1, 2, 0).numpy()
    return Image.fromarray(shown)


def _reduced(picture: Image.Image, largest: int) -> Image.Image:
    share = largest / max(picture.size)
    width, height = (max(1, round(side * share)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def _address(kind: str, stream: BytesIO) -> str:
    return f"data:image/{kind.lower()};base64,{base64.b64encode(stream.getvalue()).decode()}"
