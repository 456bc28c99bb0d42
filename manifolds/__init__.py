"""What a tangent space is, and where one can be had; geodesics.

From a decoder's Jacobian (`vae`), from particles (`ensemble`), or from a denoiser's Jacobian (`denoiser`).
"""

from manifolds.denoiser import denoiser_tangent_space, jacobian_svd
from manifolds.ensemble import ensemble_tangent_space
from manifolds.geodesic import Geodesic, geodesic
from manifolds.randomised_svd import LeadingSVD, randomised_svd
from manifolds.tangent import TangentSpace, random_alignment, tangent_space_of
from manifolds.vae import decoder_jacobian, decoder_tangent_space

__all__ = [
    "Geodesic",
    "LeadingSVD",
    "TangentSpace",
    "decoder_jacobian",
    "decoder_tangent_space",
    "denoiser_tangent_space",
    "ensemble_tangent_space",
    "geodesic",
    "jacobian_svd",
    "random_alignment",
    "randomised_svd",
    "tangent_space_of",
]
