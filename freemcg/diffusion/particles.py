"""Particles: denoised noisy copies of an image. They differ as realistic images do."""

from __future__ import annotations

from torch import Tensor

from freemcg.diffusion.denoiser import Denoiser
from freemcg.diffusion.noise import particle_noise


def draw_particles(
    denoiser: Denoiser, image: Tensor, t: int, count: int, *, seed: int, step: int = 0, first: int = 0
) -> Tensor:
    """Denoised noisy copies of `image` `(C, H, W)` at timestep `t`, from number `first` on, `(count, C, H, W)`.

    They are in [0, 1]. Drawing them costs no query.
    """
    point = denoiser.encode(image[None])[0]
    return denoiser.decode(draw_points(denoiser, point, t, count, seed=seed, step=step, first=first))


def draw_points(denoiser: Denoiser, point: Tensor, t: int, count: int, *, seed: int, step: int, first: int) -> Tensor:
    """The same in the denoiser's space, around a point that stands for an image, `(count, *point.shape)`.

    Only the particles have their number. All else is made for as many as are denoised at once.
    """
    found, at_once = point.new_empty(count, *point.shape), denoiser.at_once
    for done in range(0, count, at_once):
        some = found[done : done + at_once]
        noise = particle_noise(seed, "particles", step, len(some), tuple(point.shape), first=first + done)
        some[:] = denoiser.denoise(denoiser.add_noise(point, t, noise.to(point)), t)
    return found
