"""What a tangent space is, and where one can be had: from particles, from a decoder's Jacobian."""

from manifolds.tangent import TangentSpace, random_alignment, tangent_space_of
from manifolds.vae import decoder_tangent_space

__all__ = ["TangentSpace", "decoder_tangent_space", "random_alignment", "tangent_space_of"]
