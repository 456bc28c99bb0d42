"""Which part of a picture a diffusion model of another shape sees, and a map on all of the picture's pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int]


def seen_box(picture: Size, wanted: Size) -> tuple[float, float, float, float]:
    """The largest box of the wanted shape at the centre of a picture: left, top, right and bottom, in its pixels.

    Args:
        picture: the width and the height of the picture.
        wanted: the height and the width that are wanted.
    """
    width, height = picture
    ratio = wanted[1] / wanted[0]
    across = ratio * height if width / height > ratio else width
    down = width / ratio if width / height < ratio else height
    left, top = (width - across) * 0.5, (height - down) * 0.5
    return left, top, left + across, top + down


def cut_share(picture: Size, wanted: Size | None) -> float:
    """The share of a picture that lies outside of that box. `None` wants no size."""
    if wanted is None:
        return 0.0
    left, top, right, bottom = seen_box(picture, wanted)
    return 1 - (right - left) * (bottom - top) / (picture[0] * picture[1])


def on_pixels(values: Tensor, picture: Size) -> Tensor:
    """Values `(C, H, W)` of what was seen of a picture, on its own pixels `(C, height, width)`; 0 where nothing was."""
    left, top, right, bottom = seen_box(picture, (values.shape[1], values.shape[2]))
    across = (torch.arange(picture[0]) + 0.5 - left) / (right - left)
    down = (torch.arange(picture[1]) + 0.5 - top) / (bottom - top)
    grid = torch.stack(torch.meshgrid(2 * across - 1, 2 * down - 1, indexing="xy"), dim=-1)
    spread = F.grid_sample(
        values[None].float(), grid[None].to(values.device), "bilinear", "border", align_corners=False
    )
    seen = (down.sub(0.5).abs() <= 0.5)[:, None] & (across.sub(0.5).abs() <= 0.5)
    return spread[0] * seen.to(values.device)
