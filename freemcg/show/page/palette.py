"""One colour, one meaning: orange and blue for signs, violet for errors. The ends stay apart for the colour-blind.

The pale middle is exactly zero. Both scales are straight lines in sRGB between their stops, in Python, CSS and script.
"""

from __future__ import annotations

import torch
from torch import Tensor

SIGNED = ["#0a3570", "#2c6cb0", "#6ea3d0", "#b9d2e8", "#f5f3ee", "#f5cca6", "#e3924a", "#b4570e", "#662800"]
ERROR = ["#f5f3ee", "#cdc3e3", "#957fc4", "#61419c", "#2e0f5e"]


def signed_colours(values: Tensor, top: float) -> Tensor:
    """The colours, 8-bit `(3, H, W)`, of values `(H, W)` from `-top` to `top`. With `top` 0, all are zero's."""
    return _along(SIGNED, (values / top if top > 0 else torch.zeros_like(values)) / 2 + 0.5)


def _along(stops: list[str], share: Tensor) -> Tensor:
    table = torch.tensor([[int(stop[at : at + 2], 16) for at in (1, 3, 5)] for stop in stops], dtype=torch.float32)
    position = share.float().nan_to_num(0.5).clamp(0, 1) * (len(stops) - 1)
    below = position.floor().clamp(max=len(stops) - 2).long()
    part = (position - below)[..., None]
    colours = table[below] * (1 - part) + table[below + 1] * part
    return colours.round().to(torch.uint8).permute(2, 0, 1)
