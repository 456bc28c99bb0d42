"""Reverse diffusion of guided particles. All counterfactual searches share this loop and differ in the guidance."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from freemcg.diffusion.denoiser import Denoiser
from freemcg.diffusion.noise import particle_noise
from freemcg.diffusion.space import Space
from freemcg.messages.errors import InvalidValue


@dataclass(frozen=True)
class Particles:
    """The particles at one step.

    Attributes:
        step: the number of the step, from 0.
        t: the timestep of the step.
        noisy: the particles, `(N, C, H, W)` in the model's range.
        points: the particles denoised, `(N, C, H, W)`: images in [0, 1], or latents.
        noise: the noise in them, in the model's range.
        space: that of the points.
    """

    step: int
    t: int
    noisy: Tensor
    points: Tensor
    noise: Tensor
    space: Space


class ReverseSettings(Protocol):
    """The settings of a search that its reverse diffusion needs; see `freemcg.settings`."""

    @property
    def particles(self) -> int: ...  # noqa: D102
    @property
    def strength(self) -> float: ...  # noqa: D102
    @property
    def steps(self) -> int: ...  # noqa: D102
    @property
    def eta(self) -> float: ...  # noqa: D102
    @property
    def fidelity(self) -> float: ...  # noqa: D102


def guided_reverse(
    denoiser: Denoiser,
    point: Tensor,
    search: ReverseSettings,
    push: Callable[[Particles], Tensor],
    *,
    seed: int,
) -> Iterator[Tensor]:
    """The denoised particles of each step, `(N, C, H, W)` points, starting at noisy copies of `point` `(C, H, W)`.

    A point is an image in [0, 1], or a latent; no image is decoded.

    Args:
        push: gives the guidance from one step to the next, `(N, C, H, W)` in the model's range. It is called at every
            step but the last.

    Denoising loses more of `point` than guidance means to change. So each particle has a companion: `point` itself
    under the particle's own noise. What the companion loses is known, and the share `search.fidelity` of it is given
    back to the particle at every step. With 1 and no guidance, every step yields `point`. This is DDPM inversion
    (Huberman-Spiegelglas et al. 2024, arXiv:2304.06140) with the noise of the reverse diffusion.

    The cost is `particles * steps` denoisings, twice as many with a `fidelity`, and that of `push`.
    """
    schedule = reverse_schedule(denoiser, search.strength, search.steps)
    own = particle_noise(seed, "start", 0, search.particles, tuple(point.shape)).to(point)
    noisy = denoiser.add_noise(point, schedule[0], own)
    for step, t in enumerate(schedule):
        points, noise = denoiser.separate(noisy, t)
        if search.fidelity:
            companions, seen = denoiser.separate(denoiser.add_noise(point, t, own), t)
            points = denoiser.space.within(points + search.fidelity * (point - companions))
            noise = noise + search.fidelity * (own - seen)
        yield points
        if step + 1 < len(schedule):
            guidance, t_next = push(Particles(step, t, noisy, points, noise, denoiser.space)), schedule[step + 1]
            noisy = reverse_step(denoiser, points, noise, guidance, t, t_next, eta=search.eta, seed=seed, step=step)
            own = renewed(denoiser, own, t, t_next, eta=search.eta, seed=seed, step=step)


def pull_to(point: Tensor, now: Particles, size: float) -> Tensor:
    """The pull back to the input: the gradient of the Huber distance, `size` times as large as the noise.

    The Huber distance is an L1 distance that is smooth within 5 of 255 grey levels, so rounding cannot flip its sign.
    For latents the same width is taken in the model's range.
    """
    return -scaled_like(((now.points - point) / now.space.small).clamp(-1, 1), now.noise, size)


def reverse_schedule(denoiser: Denoiser, strength: float, steps: int) -> list[int]:
    """Evenly spaced timesteps, from `strength` of the schedule down towards 0, which is left out.

    The particles are made at the first timestep, and the image denoised at the last is the answer. Every step is taken
    exactly once.

    Raises:
        ValueError: there are more steps than timesteps.
    """
    start = denoiser.timestep(strength)
    if steps > start:
        raise InvalidValue(f"steps must be <= {start}, the timesteps below strength {strength}, got {steps}")
    return [round(start * (1 - index / steps)) for index in range(steps)]


def scaled_like(direction: Tensor, noise: Tensor, size: float) -> Tensor:
    """`direction` `(N or 1, C, H, W)`, each rescaled to `size` times the norm of the corresponding row of `noise`.

    A direction of zeros stays as it is.
    """
    lengths: Tensor = size * noise.flatten(1).norm(dim=1)
    return lengths.reshape(-1, 1, 1, 1) * unit(direction)


def unit(values: Tensor) -> Tensor:
    """Each of `values` `(N, ...)` divided by its L2 norm. Zeros stay zeros.

    This works for values of any size: each is first divided by its largest entry, so no square is rounded to 0.
    """
    shape = (-1, *[1] * (values.ndim - 1))
    largest = values.abs().flatten(1).amax(dim=1).reshape(shape)
    relative = values / torch.where(largest > 0, largest, 1)
    lengths: Tensor = relative.flatten(1).norm(dim=1).clamp(min=1)
    return relative / lengths.reshape(shape)


def reverse_step(
    denoiser: Denoiser,
    points: Tensor,
    noise: Tensor,
    push: Tensor,
    t: int,
    t_next: int,
    *,
    eta: float,
    seed: int,
    step: int,
) -> Tensor:
    """The step from `t` to `t_next`: `sqrt(abar') x0 + c1 z + c2 eps + sqrt(abar abar') push` (DDIM, Song et al. 2021).

    Args:
        points: the particles denoised at `t`, `(N, C, H, W)`.
        noise: the noise in them, `eps`.
        push: guidance, in the model's range.
        eta: the share of fresh noise: `c1 = eta sqrt((1 - abar/abar') (1 - abar') / (1 - abar))`,
            `c2 = sqrt(1 - abar' - c1^2)`.
        seed, step: determine the fresh noise.
    """
    abar, abar_next = denoiser.alphas_cumprod[t].item(), denoiser.alphas_cumprod[t_next].item()
    mixed = renewed(denoiser, noise, t, t_next, eta=eta, seed=seed, step=step)
    return denoiser.add_noise(points, t_next, mixed) + math.sqrt(abar * abar_next) * push


def renewed(denoiser: Denoiser, noise: Tensor, t: int, t_next: int, *, eta: float, seed: int, step: int) -> Tensor:
    """The noise after the step from `t` to `t_next`, scaled to unit variance: `(c1 z + c2 eps) / sqrt(1 - abar')`."""
    abar_next = denoiser.alphas_cumprod[t_next].item()
    c1, c2 = _shares_of_noise(denoiser, t, t_next, eta)
    fresh = particle_noise(seed, "reverse", step, len(noise), tuple(noise.shape[1:])).to(noise)
    return (c1 * fresh + c2 * noise) / math.sqrt(1 - abar_next)


def posterior(denoiser: Denoiser, points: Tensor, noise: Tensor, t: int, t_next: int) -> tuple[Tensor, float]:
    """The mean `(N, C, H, W)` and the variance of a pixel of an ancestral step (Ho et al. 2020, eq. 7), `eta` of 1.

    Args:
        points: the particles denoised at `t`, `(N, C, H, W)`.
        noise: the noise in them.
    """
    c1, c2 = _shares_of_noise(denoiser, t, t_next, 1.0)
    kept = c2 / math.sqrt(1 - denoiser.alphas_cumprod[t_next].item())
    return denoiser.add_noise(points, t_next, kept * noise), c1**2


def _shares_of_noise(denoiser: Denoiser, t: int, t_next: int, eta: float) -> tuple[float, float]:
    """`c1` and `c2` of `reverse_step`: of fresh noise, and of the noise that is there."""
    abar, abar_next = denoiser.alphas_cumprod[t].item(), denoiser.alphas_cumprod[t_next].item()
    c1 = eta * math.sqrt((1 - abar / abar_next) * (1 - abar_next) / (1 - abar))
    return c1, math.sqrt(1 - abar_next - c1**2)
