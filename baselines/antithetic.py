"""The gradient from pairs of answers at mirrored points. All zeroth-order methods here share this estimator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import torch
from torch import Tensor


def antithetic_gradient(
    ask: Callable[[Tensor], Tensor], pairs: Iterable[tuple[Tensor, Tensor]], smoothing: float, *, batch_size: int
) -> Tensor:
    """`mean_i (f(x_i + s u_i) - f(x_i - s u_i)) u_i / (2 s)`, for directions with mean 0 and covariance 1.

    Every query point is clipped to [0, 1]. So a black or white pixel can move only one way, and shows half of its
    slope. Therefore each pixel's mean is divided by the share of the distance that it moved,
    `mean (x+ - x-) u / mean 2 s u^2`. Without clipping that share is 1. (The division is ours.)

    Args:
        ask: `f`, which maps `(N, C, H, W)` in [0, 1] to `(N,)`.
        pairs: `x_i` and `u_i`, each `(C, H, W)`, drawn as they are needed.
        smoothing: `s`.
        batch_size: the pairs held at a time. It changes memory, not results.

    Each pair costs two queries.
    """
    remaining = iter(pairs)
    first = next(remaining)
    total, moved, free = torch.zeros(3, *first[0].shape, dtype=torch.double, device=first[0].device)
    count = 0
    for centers, directions in _batches(first, remaining, batch_size):
        above = (centers + smoothing * directions).clamp(0, 1)
        below = (centers - smoothing * directions).clamp(0, 1)
        values = ask(torch.cat([above, below])).double()
        rise = (values[: len(above)] - values[len(above) :]).to(above.device)
        total += torch.einsum("k,kchw->chw", rise, directions.double())
        moved += ((above - below) * directions).double().sum(dim=0)
        free += directions.double().square().sum(dim=0)
        count += len(above)
    share = moved / (2 * smoothing * free)
    slope: Tensor = total / (2 * smoothing * count * share)
    return slope.to(first[0])


def _batches(
    first: tuple[Tensor, Tensor], rest: Iterator[tuple[Tensor, Tensor]], size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    batch = [first, *islice(rest, size - 1)]
    while batch:
        centers, directions = zip(*batch, strict=True)
        yield torch.stack(centers), torch.stack(directions)
        batch = list(islice(rest, size))
