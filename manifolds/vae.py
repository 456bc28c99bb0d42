"""Tangent spaces of a decoder's image (Bordt, Upadhyay, Akata, von Luxburg 2023)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.func import jacfwd, vmap

from manifolds.tangent import TangentSpace, tangent_space_of


def decoder_tangent_space(
    decode: Callable[[Tensor], Tensor], latents: Tensor, *, tolerance: float = 1e-6
) -> list[TangentSpace]:
    """The tangent space at the image `decode(z)` of each latent, spanned by the columns of the decoder's Jacobian.

    Args:
        decode: from latents `(N, k)` to images `(N, C, H, W)`, differentiable, each image from its own latent alone.
        latents: `(N, k)`.
        tolerance: of `tangent_space_of`, in singular values.

    Costs `k` forward-mode products, for all latents at once.
    """
    jacobians = vmap(jacfwd(lambda latent: decode(latent[None])[0]))(latents.detach())  # (N, C, H, W, k)
    return [tangent_space_of(each.detach().flatten(0, -2).T, tolerance=tolerance) for each in jacobians]
