"""Reverse diffusion of guided particles: the schedule and the step that both counterfactual searches share."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from freemcg.denoiser import Denoiser
from freemcg.refusal import InvalidValue
from freemcg.seeding import particle_noise


def reverse_schedule(denoiser: Denoiser, strength: float, steps: int) -> list[int]:
    """Timesteps from `strength` of the schedule down to the last before 0, evenly spaced.

    The particles are made at the first of them, and the image denoised at the last is the answer: no step is taken
    twice and none is skipped.

    Raises:
        ValueError: more steps than timesteps.
    """
    start = denoiser.timestep(strength)
    if steps > start:
        raise InvalidValue(f"steps must be <= {start}, the timesteps below strength {strength}, got {steps}")
    return [round(start * (1 - index / steps)) for index in range(steps)]


def scaled_like(direction: Tensor, noise: Tensor, size: float) -> Tensor:
    """`direction` `(N or 1, C, H, W)`, each rescaled to `size` times the norm of the corresponding row of `noise`.

    However small a direction is: it is divided by its largest entry first, so that no square is rounded to 0. A
    direction of zeros stays as it is.
    """
    largest = direction.abs().amax(dim=(1, 2, 3), keepdim=True)
    relative = direction / torch.where(largest > 0, largest, 1)
    lengths = relative.flatten(1).norm(dim=1).clamp(min=1)
    factors: Tensor = size * noise.flatten(1).norm(dim=1) / lengths
    return relative * factors.reshape(-1, 1, 1, 1)


def reverse_step(
    denoiser: Denoiser,
    images: Tensor,
    noise: Tensor,
    push: Tensor,
    t: int,
    t_next: int,
    *,
    eta: float,
    seed: int,
    step: int,
) -> Tensor:
    """From timestep `t` to `t_next`: `sqrt(abar') x0 + c1 z + c2 eps + sqrt(abar abar') push` (DDIM, Song et al. 2021).

    Args:
        images: the particles denoised at `t`, `(N, C, H, W)` in [0, 1].
        noise: the noise in them, `eps`.
        push: guidance, in the model's range.
        eta: share of fresh noise: `c1 = eta sqrt((1 - abar/abar') (1 - abar') / (1 - abar))`, `c2 = sqrt(1 - abar' -
            c1^2)`.
        seed, step: name the fresh noise.
    """
    abar, abar_next = denoiser.alphas_cumprod[t].item(), denoiser.alphas_cumprod[t_next].item()
    c1 = eta * math.sqrt((1 - abar / abar_next) * (1 - abar_next) / (1 - abar))
    c2 = math.sqrt(1 - abar_next - c1**2)
    fresh = particle_noise(seed, "reverse", step, len(images), tuple(images.shape[1:])).to(images)
    mixed = (c1 * fresh + c2 * noise) / math.sqrt(1 - abar_next)
    return denoiser.add_noise(images, t_next, mixed) + math.sqrt(abar * abar_next) * push
