"""The true gradient on a manifold that is known exactly. Estimates of the gradient are compared with it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from manifolds.vae import Decode, decoder_tangent_space


def on_manifold_gradient(
    function: Callable[[Tensor], Tensor], decode: Decode, latents: Tensor, *, tolerance: float = 1e-6
) -> Tensor:
    """`P grad f(x)` at the images `x = decode(z)`: the gradient of `f` restricted to the manifold of such images.

    By the chain rule it holds the same information as the gradient with respect to the latents, `J^T grad f`. But it
    does not depend on their units: `P grad f = J (J^T J)^-1 J^T grad f` for any coordinates `z` of the manifold.

    Args:
        function: maps images `(N, C, H, W)` to values `(N,)`, differentiably, each from its own image alone.
        decode: maps latents `(N, k)` to images, such as `manifolds.renderer.render` or a VAE's decoder.
        latents: `(N, k)`.
        tolerance: the tolerance of `tangent_space_of`.

    Returns:
        `(N, C, H, W)`, in the dtype of the images.

    Each image costs one gradient of `function` and `k` products of the decoder.
    """
    spaces = decoder_tangent_space(decode, latents, tolerance=tolerance)
    with torch.no_grad():
        images = decode(latents)
    images.requires_grad_(True)
    with torch.enable_grad():
        (gradients,) = torch.autograd.grad(function(images).sum(), images)
    return torch.stack([space.project(each) for space, each in zip(spaces, gradients, strict=True)])
