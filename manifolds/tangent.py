"""Tangent spaces, projection and alignment."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from freemcg.messages.errors import InvalidValue


@dataclass(frozen=True)
class TangentSpace:
    """The tangent space at one image: orthonormal rows `basis` `(rank, D)`, float64, with `D = C H W`."""

    basis: Tensor

    @property
    def rank(self) -> int:
        """The dimension of the space."""
        return len(self.basis)

    def project(self, vectors: Tensor) -> Tensor:
        """`P v` for vectors whose trailing axes hold `D` numbers, such as `(N, C, H, W)`. It keeps shape and dtype."""
        flat = vectors.reshape(-1, self.basis.shape[1]).to(self.basis)
        return ((flat @ self.basis.T) @ self.basis).reshape(vectors.shape).to(vectors)

    def alignment(self, vectors: Tensor) -> Tensor:
        """`|P v| / |v|` `(N,)`, NaN for a zero vector. It is a ratio of norms, not of squares (Bordt et al. 2023)."""
        flat = vectors.reshape(-1, self.basis.shape[1]).to(self.basis)
        ratio: Tensor = (flat @ self.basis.T).norm(dim=1) / flat.norm(dim=1)
        return ratio


def tangent_space_of(spanning: Tensor, *, tolerance: float = 1e-6) -> TangentSpace:
    """The space spanned by the rows of `spanning` `(k, D)`: columns of a Jacobian, or anomalies of particles.

    The singular value decomposition is computed in float64. Directions below `tolerance` of the largest singular value
    are left out.

    Raises:
        ValueError: all rows are zero, so there is no direction.
    """
    _, sizes, directions = torch.linalg.svd(spanning.double(), full_matrices=False)
    if sizes[0] == 0:
        raise InvalidValue("all spanning vectors are zero; they have no tangent space")
    return TangentSpace(directions[sizes > tolerance * sizes[0]])


def random_alignment(rank: int, dimension: int) -> float:
    """The expected alignment of a Gaussian vector in `dimension` dimensions with a space of `rank`.

    It is near `sqrt(rank / dimension)`. Its exact value is
    `Gamma((k + 1) / 2) Gamma(d / 2) / (Gamma(k / 2) Gamma((d + 1) / 2))`.
    """
    k, d = rank / 2, dimension / 2
    return math.exp(math.lgamma(k + 0.5) + math.lgamma(d) - math.lgamma(k) - math.lgamma(d + 0.5))
