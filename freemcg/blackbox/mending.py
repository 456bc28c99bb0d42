"""Describe a picture in another form, and write the line of code that makes a batch of images from it."""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

LAYOUTS = {
    "HW": "[None, None]",
    "CHW": "[None]",
    "HWC": ".permute(2, 0, 1)[None]",
    "NCHW": "",
    "NHWC": ".permute(0, 3, 1, 2)",
}
"""The code that turns each layout into NCHW. If two fit a shape, the first is taken."""
GREY_LEVELS, LEVELS_OF_16_BITS = 255, 65535
BRIGHTEST = 16  # numbers whose maximum is larger are grey levels, and do not lie slightly outside [0, 1]
SLIGHTLY, DARK = 0.05, 0.25  # distances beyond [0, 1]: resizing may cause the first, only [-1, 1] causes the second


def looks_like(images: Any) -> str:
    """A description of an object: its type, shape and layout."""
    if isinstance(images, Image.Image):
        return f"a PIL picture of mode {images.mode}"
    tensor, _ = _as_tensor(images)
    kind = {"Tensor": "a tensor", "ndarray": "an array"}.get(type(images).__name__, type(images).__name__)
    if tensor is None:
        return kind
    layout = _layout(tensor)
    like = "" if layout is None else f", which looks like {layout}"
    return f"{kind} of {str(tensor.dtype).removeprefix('torch.')} and shape {tuple(tensor.shape)}{like}"


def mending(images: Any) -> str:
    """The code that turns the argument into images `(N, C, H, W)`, float in [0, 1]; empty if no code surely does.

    The code calls the argument `image`, or `images` if it is a batch.
    """
    if isinstance(images, Image.Image):
        return _mending_of_picture(images)
    if isinstance(images, str | PathLike):
        return f"freemcg.files.images.read_image({str(images)!r}, channels=3)[None]"
    tensor, code = _as_tensor(images)
    layout = None if tensor is None else _layout(tensor)
    if tensor is None or layout is None:
        return ""
    if layout.endswith("C") and tensor.shape[-1] == 4:
        code, tensor = code + "[..., :3]", tensor[..., :3]
    scaled = _scaled(tensor, code + LAYOUTS[layout])
    return scaled.replace("IMAGES", "images" if "N" in layout else "image")


def _mending_of_picture(picture: Image.Image) -> str:
    if picture.has_transparency_data or picture.mode not in ("1", "L", "P", "RGB", "YCbCr", "CMYK", "HSV"):
        return "freemcg.files.images.read_image(path, channels=3)[None], which reads its file exactly"
    if picture.mode in ("1", "L"):
        return 'torch.from_numpy(numpy.array(image.convert("L")))[None, None].float() / 255'
    return 'torch.from_numpy(numpy.array(image.convert("RGB"))).permute(2, 0, 1)[None].float() / 255'


def _as_tensor(images: Any) -> tuple[Tensor | None, str]:
    """The numbers of an object, and the code that makes a tensor of them; `None` and no code if it holds none."""
    if isinstance(images, Tensor):
        return images.detach(), "IMAGES"
    try:
        if isinstance(images, list | tuple) and images and all(isinstance(each, Tensor) for each in images):
            return torch.stack(list(images)), "torch.stack(IMAGES)"
        array, code = np.asarray(images), "torch.from_numpy(IMAGES)"
        if not isinstance(images, np.ndarray):
            code = "torch.from_numpy(numpy.array(IMAGES))"
        elif min(array.strides, default=0) < 0:
            code = "torch.from_numpy(IMAGES.copy())"
        return torch.from_numpy(array.copy()), code
    except Exception:  # its parts have unequal sizes or another type, or it holds no numbers at all
        return None, ""


def _layout(tensor: Tensor) -> str | None:
    """The layout that a shape shows. A fourth channel may say how opaque the picture is."""
    for layout in LAYOUTS:
        if len(layout) == tensor.ndim and 0 not in tensor.shape:
            sides = dict(zip(layout, tensor.shape, strict=True))
            opaque = layout.endswith("C") and sides["C"] == 4 < min(sides["H"], sides["W"])
            if sides.get("C", 1) in (1, 3) or opaque:
                return layout
    return None


def _scaled(tensor: Tensor, code: str) -> str:
    """The code, extended to bring the numbers into [0, 1]; empty if the scale cannot be told."""
    if tensor.is_complex() or not tensor.isfinite().all():
        return ""
    low, high = tensor.double().min().item(), tensor.double().max().item()
    if not tensor.is_floating_point():
        return _scaled_integers(tensor.dtype, low, high, f"{code}.float()")
    if low >= 0 and BRIGHTEST < high <= GREY_LEVELS:
        return f"{code} / {GREY_LEVELS}"
    if low >= -SLIGHTLY and high <= 1 + SLIGHTLY:
        return code if low >= 0 and high <= 1 else f"{code}.clamp(0, 1)"
    return f"({code} + 1) / 2" if -1 <= low < -DARK and high <= 1 else ""


def _scaled_integers(dtype: torch.dtype, low: float, high: float, code: str) -> str:
    if dtype == torch.bool:
        return code
    white = LEVELS_OF_16_BITS if dtype == torch.uint16 or high > GREY_LEVELS else GREY_LEVELS
    return f"{code} / {white}" if low >= 0 and high <= white else ""
