"""The local covariance of the manifold, from particles that cost no query."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from freemcg.ensemble.anomalies import anomalies
from freemcg.ensemble.blocks import column_blocks, gram_matrix


@dataclass(frozen=True)
class PrincipalAxes:
    """`C_xx = U diag(lam) U^T`.

    Attributes:
        mean: the mean of the particles, `(D,)`.
        directions: `U^T`, orthonormal rows `(R, D)`.
        variances: `lam`, largest first, `(R,)`.
    """

    mean: Tensor
    directions: Tensor
    variances: Tensor

    def covariance_times(self, vector: Tensor) -> Tensor:
        """`C_xx v` for `v` of shape `(D,)`."""
        return (self.variances * (self.directions @ vector)) @ self.directions


def principal_axes(particles: Tensor, *, tolerance: float = 1e-10) -> PrincipalAxes:
    """All principal axes of particles `(M, D)` whose variance exceeds `tolerance` times the largest.

    The eigenvectors of the `M x M` Gram matrix are turned into axes (the snapshot method of Sirovich 1987), in float64.
    So the eigenproblem has size `M`, for images of any size. Identical particles have no axis: `R = 0`. The sign of an
    axis makes its entry of largest magnitude positive.
    """
    variances, vectors = torch.linalg.eigh(gram_matrix(particles))
    variances, vectors = variances.flip(0), vectors.flip(1)
    count = int((variances > max(tolerance * variances[0].item(), 1e-30)).sum())
    variances, vectors = variances[:count], vectors[:, :count]
    directions = particles.new_empty(count, particles.shape[1])
    largest, signs = torch.zeros_like(variances), torch.ones_like(variances)
    for columns in column_blocks(particles) if count else ():
        made = (vectors.T @ anomalies(particles[:, columns].double())) / variances.sqrt()[:, None]
        directions[:, columns] = made.to(directions)
        peaks = made.gather(1, made.abs().argmax(dim=1, keepdim=True))[:, 0]
        signs = torch.where(peaks.abs() > largest, peaks.sign(), signs)
        largest = largest.maximum(peaks.abs())
    directions *= signs[:, None].to(directions)
    return PrincipalAxes(particles.mean(dim=0), directions, variances.to(directions))
