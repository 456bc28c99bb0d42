"""Read from the metadata how a served model takes images, and arrange images in that layout."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freemcg.blackbox.remote.encoding import encode
from freemcg.messages.errors import InvalidValue

COLOURS = (1, 3)


@dataclass(frozen=True)
class ImageInput:
    """The image input of a model, from its metadata.

    Attributes:
        name, datatype: the server's name and datatype.
        layout: `NCHW`, `NHWC`, `NHW` (grey), `ND` (grey, flat), `CHW` or `HWC` (one image, no batch), or `N` or `N1`
            (files).
        image_size, channels: the size and channels, if the metadata fix them.
        one_at_a_time: whether a request holds one image only.
    """

    name: str
    datatype: str
    layout: str
    image_size: tuple[int, int] | None
    channels: int | None
    one_at_a_time: bool


def read_input(described: Mapping[str, Any], layout: str | None, place: str) -> ImageInput:
    """The image input that `name`, `datatype` and `shape` of the metadata describe.

    Raises:
        ValueError: the input takes no image, or the metadata do not tell how. The message begins with `place`.
    """
    try:
        name, datatype = str(described["name"]), str(described["datatype"])
        shape = [int(side) for side in described["shape"]]
    except (KeyError, TypeError, ValueError, OverflowError):
        raise InvalidValue(
            f"{place} does not tell the datatype and shape of its input; state them in the settings of the model"
        ) from None
    stated = f"{place} takes {datatype} of shape {shape}"
    if datatype == "BYTES":
        if len(shape) not in (1, 2) or any(side not in (-1, 1) for side in shape):
            raise InvalidValue(f"{stated}; encoded images have shape [-1]")
        return ImageInput(name, datatype, "N" if len(shape) < 2 else "N1", None, None, shape[0] == 1)
    if datatype not in ("UINT8", "FP16", "FP32", "FP64"):
        raise InvalidValue(f"{stated}; images go as UINT8, FP16, FP32, FP64 or BYTES")
    if len(shape) == 2:
        side = math.isqrt(max(shape[1], 0))
        if shape[0] not in (-1, 1) or side == 0 or side * side != shape[1]:
            raise InvalidValue(f"{stated}; a flat image must be grey and square, [-1, side * side]")
        return ImageInput(name, datatype, "ND", (side, side), 1, shape[0] == 1)
    layouts = {4: ("NCHW", "NHWC"), 3: ("NHW",) if shape[:1] == [-1] else ("CHW", "HWC")}.get(len(shape), ())
    if not layouts:
        raise InvalidValue(f"{stated}; an image has 3 axes, and a batch of images has 4")
    if len(layouts) > 1:
        fits = [each for each in layouts if shape[each.index("C")] in COLOURS]
        if layout is not None:
            named = [each for each in layouts if each in (layout, layout[1:])]
            fits = [each for each in named if shape[each.index("C")] in (*COLOURS, -1)]
        if len(fits) != 1:
            raise InvalidValue(
                f"{stated}; say layout='NCHW' or layout='NHWC' (--layout)" + (f", not {layout!r}" if layout else "")
            )
        layouts = (fits[0],)
    chosen = layouts[0]
    sides = dict(zip(chosen, shape, strict=True))
    if sides.get("N", 1) not in (-1, 1):
        raise InvalidValue(f"{stated}; it must take one image, or any number of them")
    size = (sides["H"], sides["W"])
    return ImageInput(
        name,
        datatype,
        chosen,
        None if -1 in size else size,
        sides.get("C", 1) if sides.get("C", 1) != -1 else None,
        sides.get("N", 1) == 1,
    )


def arrange(values: NDArray[Any], layout: str) -> NDArray[Any]:
    """Images `(N, H, W, C)` in the layout of an input. `N` and `N1` hold the bytes of one PNG file per image."""
    if layout in ("N", "N1"):
        files: NDArray[Any] = np.empty(len(values), dtype=object)
        files[:] = [encode(each, "png") for each in values]
        return files if layout == "N" else files[:, None]
    if layout == "NCHW":
        return values.transpose(0, 3, 1, 2)
    if layout == "NHW":
        return values[..., 0]
    if layout == "ND":
        return values[..., 0].reshape(len(values), -1)
    if layout == "NHWC":
        return values
    image: NDArray[Any] = values[0]
    return image if layout == "HWC" else image.transpose(2, 0, 1)
