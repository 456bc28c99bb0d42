"""Tangent spaces of a decoder's image (Bordt, Upadhyay, Akata, von Luxburg 2023, arXiv:2206.07387)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import jvp, vmap

from freemcg.messages.errors import InvalidValue
from manifolds.tangent import TangentSpace, tangent_space_of

Decode = Callable[[Tensor], Tensor]


def decoder_jacobian(decode: Decode, latents: Tensor, *, batch_size: int = 512) -> Tensor:
    """The derivative of each image with respect to its latent, by forward-mode differentiation.

    Args:
        decode: maps latents `(N, k)` to images `(N, C, H, W)`, differentiably, each image from its own latent alone.
        latents: `(N, k)`.
        batch_size: the Jacobian columns computed at once, over all images. It changes memory, not results.

    Returns:
        `(N, C, H, W, k)`, in the decoder's dtype.

    Raises:
        ValueError: `latents` is no batch of vectors, or `batch_size` is out of range.

    Each image costs `k` forward-mode products; one backward pass per pixel would cost `C H W`.
    """
    if latents.ndim != 2 or not len(latents):
        raise InvalidValue(f"latents must be (N, k) with N >= 1, got {tuple(latents.shape)}")
    if batch_size < 1:
        raise InvalidValue(f"batch_size must be >= 1, got {batch_size}")
    size = latents.shape[1]

    def columns(latent: Tensor, directions: Tensor) -> Tensor:
        moved: Tensor = vmap(lambda direction: jvp(lambda z: decode(z[None])[0], (latent,), (direction,))[1])(
            directions
        )
        return moved

    with torch.no_grad():
        directions = torch.eye(size, dtype=latents.dtype, device=latents.device).split(batch_size)
        parts = latents.detach().split(max(1, batch_size // size))
        rows = [torch.cat([vmap(columns, (0, None))(part, some) for some in directions], dim=1) for part in parts]
    return torch.cat(rows).movedim(1, -1)


def decoder_tangent_space(
    decode: Decode, latents: Tensor, *, tolerance: float = 1e-6, batch_size: int = 512
) -> list[TangentSpace]:
    """The tangent space at the image `decode(z)` of each latent, spanned by the columns of the decoder's Jacobian.

    Args:
        decode, latents, batch_size: as `decoder_jacobian`, which is most of the cost.
        tolerance: the tolerance of `tangent_space_of`, in singular values.

    Raises:
        ValueError: as `decoder_jacobian`, or an image does not depend on its latent at all.
    """
    parts = latents.split(max(1, batch_size // max(1, latents.shape[-1])))
    return [
        tangent_space_of(jacobian.flatten(0, -2).T, tolerance=tolerance)
        for part in parts
        for jacobian in decoder_jacobian(decode, part, batch_size=batch_size)
    ]
