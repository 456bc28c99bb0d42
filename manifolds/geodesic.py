"""Geodesics of the images that a decoder makes, in its latent space (Arvanitidis, Hansen, Hauberg 2018).

The decoder `g`, with Jacobian `J`, pulls the metric `J' J` back from image space. Under it, a curve in latent space is
as long as the curve of its decoded images. A curve of `N` pieces, `dt = 1 / N`, has the energy
`E = 1/2 sum_j |g(z_{j+1}) - g(z_j)|^2 / dt`. The geodesic has the least energy between its ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from freemcg.messages.errors import InvalidValue

Decode = Callable[[Tensor], Tensor]
ARMIJO = 1e-3  # a step is taken if it lowers the energy by this share of what the slope promises
HALVINGS = 30  # halvings of the step, after which a curve is given up


@dataclass(frozen=True)
class Geodesic:
    """Curves in latent space, one for each pair of ends.

    Attributes:
        latents: the points `z_0 .. z_N`, `(B, N + 1, k)`.
        images: the decoded points, `(B, N + 1, C, H, W)`.
        energy, length: energy and length of the decoded curve, `(B,)`. `length` is the sum of `|g(z_{j+1}) - g(z_j)|`,
            and `energy >= length^2 / 2`, with equality if the pieces are equally long.
        straight_energy, straight_length: the same two for the straight line between the same ends, `(B,)`.
    """

    latents: Tensor
    images: Tensor
    energy: Tensor
    length: Tensor
    straight_energy: Tensor
    straight_length: Tensor


def geodesic(
    decode: Decode,
    start: Tensor,
    end: Tensor,
    *,
    pieces: int = 20,
    sweeps: int = 50,
    tolerance: float = 1e-3,
    batch_size: int = 1024,
) -> Geodesic:
    """Bend the straight line from `start` to `end`, until its decoded images form the shortest curve that is found.

    Each sweep takes the gradient of the energy, `eta_j = -J(z_j)' [g(z_{j+1}) - 2 g(z_j) + g(z_{j-1})] / dt`. It needs
    one vector-Jacobian product of the decoder per point. The sweep moves all points against the gradient with a
    backtracking line search (Armijo). The gradient is first smoothed along the curve, by the inverse of its second
    difference (a Sobolev gradient; ours). So the number of sweeps does not grow with the number of points. The result
    is the curve of least energy among those met that are no longer than the straight line.

    Args:
        decode: maps latents `(N, k)` to images `(N, C, H, W)`, differentiably, each image from its own latent alone.
        start, end: latents `(B, k)`.
        pieces: `N`.
        sweeps: the most sweeps; 0 gives the straight line.
        tolerance: a curve is finished once a sweep lowers its energy by less than this share of it.
        batch_size: the latents in one call of `decode`. It changes memory, not results.

    Raises:
        ValueError: an argument is out of range, or the ends differ in shape.

    Each sweep costs `N - 1` vector-Jacobian products, and `N - 1` decoded latents for each step tried.
    """
    if start.ndim != 2 or start.shape != end.shape:
        raise InvalidValue(f"start and end must be latents (B, k), got {tuple(start.shape)} and {tuple(end.shape)}")
    for name, number, least in (("pieces", pieces, 1), ("sweeps", sweeps, 0), ("batch_size", batch_size, 1)):
        if number < least:
            raise InvalidValue(f"{name} must be >= {least}, got {number}")

    def decoded(latents: Tensor) -> Tensor:
        with torch.no_grad():
            flat = torch.cat([decode(part) for part in latents.flatten(0, 1).split(batch_size)])
        return flat.reshape(*latents.shape[:2], *flat.shape[1:])

    fractions = torch.linspace(0, 1, pieces + 1, dtype=start.dtype, device=start.device)[:, None]
    latents = torch.lerp(start.detach()[:, None], end.detach()[:, None], fractions)
    images = decoded(latents)
    energy, straight_length = _energy(images), _length(images)
    straight_energy = energy
    kept, kept_images = latents, images
    step = torch.full_like(energy, 0.5)
    moving = torch.full_like(energy, pieces > 1, dtype=torch.bool)
    for _ in range(sweeps):
        rows = moving.nonzero()[:, 0]  # the curves that may still improve
        if len(rows) == 0:
            break
        slope = _energy_gradient(decode, latents[rows], images[rows], batch_size)
        direction = _smoothed(slope)
        promised = (slope * direction).sum(dim=(1, 2))
        step[rows] *= 2
        moving[rows] = False
        for _ in range(HALVINGS):
            trial = latents[rows]
            trial[:, 1:-1] -= step[rows, None, None] * direction
            trial_images = images[rows]
            trial_images[:, 1:-1] = decoded(trial[:, 1:-1])
            trial_energy = _energy(trial_images)
            fell = trial_energy <= energy[rows] - ARMIJO * step[rows] * promised
            found = rows[fell]
            moving[found] = energy[found] - trial_energy[fell] > tolerance * energy[found]
            latents = latents.index_put((found,), trial[fell])
            images = images.index_put((found,), trial_images[fell])
            energy = energy.index_put((found,), trial_energy[fell])
            rows, direction, promised = rows[~fell], direction[~fell], promised[~fell]
            if len(rows) == 0:
                break
            step[rows] /= 2
        shorter = (_length(images) <= straight_length).nonzero()[:, 0]
        kept = kept.index_put((shorter,), latents[shorter])
        kept_images = kept_images.index_put((shorter,), images[shorter])
    return Geodesic(kept, kept_images, _energy(kept_images), _length(kept_images), straight_energy, straight_length)


def _energy(images: Tensor) -> Tensor:
    """The energy `(B,)` of curves of images `(B, N + 1, C, H, W)`."""
    moves = images.diff(dim=1).flatten(1)
    return 0.5 * (images.shape[1] - 1) * moves.square().sum(dim=1)


def _length(images: Tensor) -> Tensor:
    """The length `(B,)` of curves of images `(B, N + 1, C, H, W)`."""
    lengths: Tensor = images.diff(dim=1).flatten(2).norm(dim=2).sum(dim=1)
    return lengths


def _energy_gradient(decode: Decode, latents: Tensor, images: Tensor, batch_size: int) -> Tensor:
    """The gradient of the energy with respect to the latents between the ends, `(B, N - 1, k)`.

    Each latent costs one vector-Jacobian product.
    """
    bends = (images.shape[1] - 1) * (2 * images[:, 1:-1] - images[:, :-2] - images[:, 2:])
    parts = []
    for some, bend in zip(
        latents[:, 1:-1].flatten(0, 1).split(batch_size), bends.flatten(0, 1).split(batch_size), strict=True
    ):
        leaf = some.detach().requires_grad_(True)
        with torch.enable_grad():
            (part,) = torch.autograd.grad(decode(leaf), leaf, bend)
        parts.append(part)
    return torch.cat(parts).reshape(*bends.shape[:2], -1)


def _smoothed(slope: Tensor) -> Tensor:
    """The gradient `(B, N - 1, k)` times the inverse of the energy's Hessian for an identity decoder."""
    count = slope.shape[1]
    ones = torch.ones(count, count, dtype=slope.dtype, device=slope.device)
    hessian = (count + 1) * (3 * ones.tril().triu() - ones.tril(1).triu(-1))
    smoothed: Tensor = torch.linalg.solve(hessian, slope)
    return smoothed
