"""What a tangent space is, and where one can be had (from particles, from a decoder's Jacobian); geodesics."""

from manifolds.geodesic import Geodesic, geodesic
from manifolds.tangent import TangentSpace, random_alignment, tangent_space_of
from manifolds.vae import decoder_tangent_space

__all__ = ["Geodesic", "TangentSpace", "decoder_tangent_space", "geodesic", "random_alignment", "tangent_space_of"]
