"""The leading singular vectors of a matrix known only by its products (Halko, Martinsson, Tropp 2011)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from freemcg.messages.errors import InvalidValue

Product = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LeadingSVD:
    """`A ~ sum_i values_i left_i right_i^T`.

    Attributes:
        values: the singular values, largest first, `(r,)`, float64.
        left, right: orthonormal rows `(r, rows of A)` and `(r, columns of A)`, float64.
    """

    values: Tensor
    left: Tensor
    right: Tensor


def randomised_svd(
    product: Product,
    adjoint: Product,
    columns: int,
    rank: int,
    *,
    oversampling: int = 8,
    iterations: int = 2,
    generator: torch.Generator | None = None,
) -> LeadingSVD:
    """Randomised subspace iteration (algorithms 4.4 and 5.1 of Halko, Martinsson, Tropp 2011).

    Args:
        product: maps vectors `v` `(l, columns)` to `A v` `(l, rows)`, float64.
        adjoint: maps vectors `u` `(l, rows)` to `A^T u` `(l, columns)`, float64.
        columns: the number of columns of `A`.
        rank: the number of singular vectors.
        oversampling: the number of further vectors that are carried along and dropped at the end.
        iterations: the power iterations. The error of the subspace falls with `(s_{l+1} / s_r)^(2 iterations + 1)`.
        generator: the generator of the random start.

    Raises:
        ValueError: `rank` or another number is out of range.

    The cost is `(iterations + 1) (rank + oversampling)` products, and as many of the adjoint.
    """
    if not 1 <= rank <= columns:
        raise InvalidValue(f"rank must be in 1..{columns}, got {rank}")
    if oversampling < 0 or iterations < 0:
        raise InvalidValue(f"oversampling and iterations must be >= 0, got {oversampling} and {iterations}")
    count = min(columns, rank + oversampling)
    device = None if generator is None else generator.device
    basis = torch.randn(count, columns, generator=generator, dtype=torch.double, device=device)
    basis = _orthonormal(product(basis))
    for _ in range(iterations):
        basis = _orthonormal(product(_orthonormal(adjoint(basis))))
    mixing, values, right = torch.linalg.svd(adjoint(basis), full_matrices=False)
    return LeadingSVD(values[:rank], (mixing.T @ basis)[:rank], right[:rank])


def _orthonormal(rows: Tensor) -> Tensor:
    basis: Tensor = torch.linalg.qr(rows.T)[0].T
    return basis
