"""Gaussian blur of images, as a product with one small matrix per axis."""

from __future__ import annotations

import torch
from torch import Tensor

from freemcg.messages.errors import InvalidValue

BORDERS = ("zero", "reflect")


def gaussian_blur(images: Tensor, sigma: float, *, border: str = "reflect") -> Tensor:
    """Images `(..., H, W)` convolved with a Gaussian of standard deviation `sigma` pixels; 0 changes nothing.

    Args:
        border: what lies outside the image. `"reflect"` mirrors it at its edges (`d c b a | a b c d | d c b a`), which
            keeps the mean. `"zero"` puts black there, which darkens the edges.

    The Gaussian is cut at 4 sigma and sums to 1, as in `scipy.ndimage.gaussian_filter`.
    """
    if sigma < 0:
        raise InvalidValue(f"sigma must be >= 0, got {sigma}")
    if border not in BORDERS:
        raise InvalidValue(f"border must be one of {', '.join(BORDERS)}, got {border!r}")
    if sigma == 0:
        return images
    rows, columns = (_matrix(side, sigma, border).to(images) for side in images.shape[-2:])
    return rows @ images @ columns.T


def _matrix(side: int, sigma: float, border: str) -> Tensor:
    """The matrix `(side, side)` of the blur. Row `i` holds the weights of the pixels that make pixel `i`."""
    reach = int(4 * sigma + 0.5)
    offsets = torch.arange(-reach, reach + 1)
    weights = torch.exp(-0.5 * (offsets.double() / sigma) ** 2)
    weights = (weights / weights.sum()).expand(side, -1)
    pixel = torch.arange(side)[:, None]
    source = pixel + offsets
    if border == "reflect":
        source = source % (2 * side)
        source = torch.minimum(source, 2 * side - 1 - source)
    inside = (source >= 0) & (source < side)
    matrix = torch.zeros(side, side, dtype=torch.double)
    matrix.index_put_((pixel.expand_as(source)[inside], source[inside]), weights[inside], accumulate=True)
    return matrix
