"""Images are sent as 8-bit pictures, like those in a file."""

from __future__ import annotations

import io

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

JPEG_QUALITY = 95  # our choice


def eight_bit(images: Tensor) -> NDArray[np.uint8]:
    """Images `(N, C, H, W)` in [0, 1] as `(N, H, W, C)`, 0..255."""
    pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    return pixels.contiguous().cpu().numpy()


def encode(pixels: NDArray[np.uint8], kind: str) -> bytes:
    """One picture `(H, W, C)`, grey or RGB, as the bytes of a `"png"` or `"jpeg"` file."""
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    buffer = io.BytesIO()
    if kind == "jpeg":
        picture.save(buffer, "JPEG", quality=JPEG_QUALITY)
    else:
        picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
