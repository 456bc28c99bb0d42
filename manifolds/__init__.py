"""Tangent spaces, the ways to get one, and geodesics.

A tangent space comes from a decoder's Jacobian (`vae`), from particles (`ensemble`) or from a denoiser's Jacobian
(`denoiser`). A renderer whose factors are known (`renderer`) gives it exactly.
"""

from manifolds.denoiser import denoiser_tangent_space, jacobian_svd
from manifolds.ensemble import ensemble_tangent_space
from manifolds.geodesic import Geodesic, geodesic
from manifolds.gradient import on_manifold_gradient
from manifolds.known import KnownManifold, drawn_latents, generated, reconstructed
from manifolds.randomised_svd import LeadingSVD, randomised_svd
from manifolds.tangent import TangentSpace, random_alignment, tangent_space_of
from manifolds.vae import decoder_jacobian, decoder_tangent_space

__all__ = [
    "Geodesic",
    "KnownManifold",
    "LeadingSVD",
    "TangentSpace",
    "decoder_jacobian",
    "decoder_tangent_space",
    "denoiser_tangent_space",
    "drawn_latents",
    "ensemble_tangent_space",
    "generated",
    "geodesic",
    "jacobian_svd",
    "on_manifold_gradient",
    "random_alignment",
    "randomised_svd",
    "reconstructed",
    "tangent_space_of",
]
