"""Numbers on their way into the page: 16-bit, deflated, as base64.

The script inflates them again. An image of them would not do, since some browsers blur what a script reads from one.
"""

from __future__ import annotations

import base64
import zlib

import torch
from torch import Tensor

STEPS = 4000
UNKNOWN = 32767
"""Stands for a value that is not finite."""


def plane(values: Tensor, top: float) -> str:
    """Values of any shape as multiples of `top / 4000`, so that a strong value keeps three digits; row by row.

    All low bytes come first and then all high ones, which deflate to three quarters of what pairs would.

    Args:
        top: the largest magnitude of a finite value; 0 if all are 0.
    """
    scaled = values.double().cpu() * (STEPS / top if top > 0 else 0.0)
    whole = torch.where(values.cpu().isfinite(), scaled.round().clamp(-STEPS, STEPS), float(UNKNOWN))
    pairs = whole.to(torch.int16).contiguous().numpy().astype("<i2").tobytes()
    return deflated(pairs[0::2] + pairs[1::2])


def small_plane(values: Tensor) -> str:
    """Values in [-1, 1] as multiples of 1 / 127, one byte each."""
    whole = (values.cpu() * 127).round().clamp(-127, 127).to(torch.int8)
    return deflated(whole.contiguous().numpy().tobytes())


def bits(flags: Tensor) -> str:
    """Flags as one byte each. Deflation makes that as small as packing would."""
    return deflated(flags.cpu().to(torch.uint8).contiguous().numpy().tobytes())


def deflated(content: bytes) -> str:
    """Bytes as zlib and then base64 write them."""
    return base64.b64encode(zlib.compress(content, 9)).decode()


def top_of(values: Tensor) -> float:
    """The largest magnitude of the finite values; 0 if there is none."""
    finite = values[values.isfinite()]
    return float(finite.abs().max()) if len(finite) else 0.0
