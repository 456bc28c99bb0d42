"""An ensemble seen through a map that is dear to compute, such as the decoder of a latent model.

Only the queried points went through the map. The others follow a linear model of it. So the covariance of
the map's values and the scores comes from all particles, at no further pass through the map. What the linear model
misses at the paid particles corrects it: see `control_variate`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from freemcg.ensemble.principal_axes import PrincipalAxes
from freemcg.ensemble.sigma_points import LinearModel


@dataclass(frozen=True)
class Pushforward:
    """A linear model of a map `D` from points `(d,)` to values `(C,)`, through its values at the sigma points.

    Attributes:
        center: the first sigma point, `(d,)`.
        value: `D` there, `(C,)`.
        inward: the `h` axes `u_i` asked along, with their variances `lam_i`.
        slopes: `J u_i`, the change of `D` for a step of 1 along each, `(h, C)`.
        axes: the principal axes of `J C J^T` in the values' space, with `C` the covariance along the `u_i`.
    """

    center: Tensor
    value: Tensor
    inward: PrincipalAxes
    slopes: Tensor
    axes: PrincipalAxes

    @classmethod
    def through(cls, axes: PrincipalAxes, points: Tensor, values: Tensor, *, tolerance: float = 1e-10) -> Pushforward:
        """The model through the `values` `(1 + h, C)` of the sigma points `(1 + h, d)`.

        The outward axes are the right singular vectors of the rows `sqrt(lam_i) J u_i`. An axis is left out if its
        variance is less than `tolerance` times that of all.
        """
        along = len(points) - 1
        inward = PrincipalAxes(axes.mean, axes.directions[:along], axes.variances[:along])
        steps = ((points[1:] - points[0]) * inward.directions).sum(dim=1)
        slopes = (values[1:] - values[0]) / steps[:, None]
        rows = (inward.variances.sqrt()[:, None] * slopes).double()
        variances, vectors = torch.linalg.eigh(rows @ rows.T)
        kept = variances > max(tolerance * variances.sum().item(), 1e-30)
        variances, vectors = variances[kept].flip(0), vectors[:, kept].flip(1)
        directions = (vectors / variances.sqrt()).T @ rows
        outward = PrincipalAxes(values[0], directions.to(values), variances.to(values))
        return cls(points[0], values[0], inward, slopes, outward)

    def __call__(self, points: Tensor) -> Pushed:
        """The values `(N, C)` that the model gives points `(N, d)`, computed when they are read."""
        return Pushed(self.value, (points - self.center) @ self.inward.directions.T, self.slopes)

    def carry(self, model: LinearModel) -> LinearModel:
        """A linear model of a score in the points as one in the values. Both agree where `self` is exact.

        Its slope `w` is the shortest with `<w, J u_i> = <model.slope, u_i>` along every axis.
        """
        rows = self.inward.variances.sqrt()[:, None] * self.slopes
        rises = self.inward.variances.sqrt() * (self.inward.directions @ model.slope)
        whitened = (self.axes.directions @ rows.T) @ rises / self.axes.variances
        return LinearModel(self.value, model.value, whitened @ self.axes.directions)


@dataclass(frozen=True)
class Pushed:
    """Rows `value + coordinates @ slopes`, `(N, C)`, whose parts are computed when they are read.

    There are as many as particles, and each is as long as an image. So all together need not fit into memory.

    Attributes:
        value: `(C,)`.
        coordinates: `(N, h)`.
        slopes: `(h, C)`.
    """

    value: Tensor
    coordinates: Tensor
    slopes: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """`(N, C)`."""
        return len(self.coordinates), len(self.value)

    def __len__(self) -> int:
        return len(self.coordinates)

    def __getitem__(self, key: slice | tuple[slice, slice]) -> Tensor:
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        return self.value[columns] + self.coordinates[rows] @ self.slopes[:, columns]
