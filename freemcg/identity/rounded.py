"""A short text of computed numbers that their last bits do not change.

Two machines may compute the same formula with different last bits. So a digest of the bits would tell them apart.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

WAVES = 4


def rounded(values: Tensor) -> str:
    """The norm of `values` to four digits, and their first cosine coefficients, relative to the norm, to a thousandth.

    The coefficients are sums over all values, in which last bits hardly matter: about one array in a thousand lies so
    near the boundary of a rounding that they change a digit. Values that are not finite count by their place and sign.
    A change of few among many values may not be seen.
    """
    values = plain(values)
    flat = (torch.view_as_real(values) if values.is_complex() else values).flatten().double()
    endless = torch.where(flat.isfinite(), 0, flat.nan_to_num(2).sign() + flat.isnan())
    places = " ".join(f"{place}:{int(endless[place])}" for place in endless.nonzero().flatten().tolist())
    flat = torch.where(flat.isfinite(), flat, 0)
    norm = flat.norm().item()
    if norm == 0:
        return f"0 {places}"
    steps = (torch.arange(len(flat), dtype=torch.float64) + 0.5) * math.pi / len(flat)
    waves = [((steps * wave).cos() @ flat).item() / norm / math.sqrt(len(flat)) for wave in range(WAVES)]
    return f"{norm:.3e} {[round(each, 3) + 0.0 for each in waves]} {places}"


def plain(tensor: Tensor) -> Tensor:
    """A tensor's values in a tensor that is nothing but them: dense, contiguous, on the CPU, without a graph."""
    values = (tensor.dequantize() if tensor.is_quantized else tensor).detach().cpu()
    return (values.to_dense() if values.layout != torch.strided else values).resolve_conj().resolve_neg().contiguous()
