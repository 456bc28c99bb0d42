"""An exact manifold: colour pictures of a soft-edged shape, drawn from nine known factors.

    python -m manifolds.renderer --images 4000 --out shapes

A shape with three, four or five lobes lies on a coloured ground. It is lit from the upper left and has a shadow. Every
pixel is an infinitely differentiable function of the factors, so the tangent space of an image is exact. So is the
gradient, on the manifold, of any function of the image. The class is a function of the factors too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from freemcg.messages.errors import InvalidValue
from manifolds.tangent import TangentSpace
from manifolds.vae import decoder_tangent_space

FACTORS = ("x", "y", "size", "rotation", "hue", "ground", "clover", "square", "star")
CLASS_NAMES = ("clover", "square", "star")  # in alphabetical order, like class folders
LOWEST = (-0.3, -0.3, 0.38, 0.0, 0.0, 0.0)
HIGHEST = (0.3, 0.3, 0.55, math.tau, math.tau, math.tau)
REACH = (0.24, 0.17, 0.32)  # of three, four and five lobes, as a share of the radius
EDGE = 0.05  # half-width of an edge, in half sides of the image
PHASES = (0.0, math.tau / 3, 2 * math.tau / 3)  # of red, green, blue on the circle of hues


@dataclass(frozen=True)
class Shapes:
    """Pictures, and the factors that they were drawn from.

    Attributes:
        factors: `(N, 9)` in the order of `FACTORS`, float64.
        images: `(N, 3, H, W)` in [0, 1], float32.
        labels: `(N,)`, indices into `CLASS_NAMES`.
    """

    factors: Tensor
    images: Tensor
    labels: Tensor


def render(factors: Tensor, *, size: int = 32) -> Tensor:
    """Draw the pictures `(N, 3, size, size)` in [0, 1] of factors `(N, 9)`, in their dtype, differentiably.

    The factors are, in the order of `FACTORS`: the centre, right and down from the middle, in half sides; the radius,
    likewise; the rotation; the hues of the shape and of the ground, in radians; and how much of a clover, a square
    and a star the shape is. A direction from the centre is a complex number `w` of modulus 1. The boundary in that
    direction lies at the distance `radius (1 + sum_n REACH_n lobe_n Re w^n)`, with `n = 3, 4, 5`. The edge is a
    sigmoid.

    Raises:
        ValueError: `factors` is not `(N, 9)`, or `size` is less than 8.
    """
    if factors.ndim != 2 or factors.shape[1] != len(FACTORS):
        raise InvalidValue(f"factors must be (N, {len(FACTORS)}), got {tuple(factors.shape)}")
    if size < 8:
        raise InvalidValue(f"size must be >= 8, got {size}")
    x, y, radius, rotation, hue, ground, *lobes = factors[:, :, None, None].unbind(dim=1)
    axis = (torch.arange(size, dtype=factors.dtype, device=factors.device) + 0.5) * (2 / size) - 1
    across, down = axis[None, None, :], axis[None, :, None]

    def inside(right: Tensor, below: Tensor, edge: float) -> Tensor:
        """1 inside the shape and 0 outside, at places `right` and `below` of its centre."""
        cos, sin = rotation.cos(), rotation.sin()
        u, v = cos * right + sin * below, cos * below - sin * right
        distance = (u.square() + v.square() + 1e-3).sqrt()
        real, imaginary = u / distance, v / distance
        power, turned = real.square() - imaginary.square(), 2 * real * imaginary
        reach = torch.ones_like(radius)
        for lobe, most in zip(lobes, REACH, strict=True):
            power, turned = power * real - turned * imaginary, power * imaginary + turned * real
            reach = reach + most * lobe * power
        return torch.sigmoid((radius * reach - distance) / edge)

    right, below = across - x, down - y
    shape = inside(right, below, EDGE)[:, None]
    shadow = inside(right - 0.09, below - 0.13, 2.5 * EDGE)[:, None]
    light = torch.exp(-((right + 0.35 * radius).square() + (below + 0.4 * radius).square()) / (0.3 * radius.square()))
    phases = torch.tensor(PHASES, dtype=factors.dtype, device=factors.device)[None, :, None, None]
    paint = 0.45 + 0.4 * torch.cos(hue[:, None] - phases)
    paint = paint + 0.6 * light[:, None] * (1 - paint)
    floor = (0.72 + 0.16 * torch.cos(ground[:, None] - phases)) * (1 - 0.12 * down[:, None])
    return shape * paint + (1 - shape) * floor * (1 - 0.45 * shadow)


def labels_of(factors: Tensor) -> Tensor:
    """The shape with the largest lobe factor, `(N,)`, for factors `(N, 9)`."""
    return factors[:, -len(CLASS_NAMES) :].argmax(dim=1)


def sample(count: int, seed: int = 0, *, size: int = 32) -> Shapes:
    """Draw pictures: all three shapes, everywhere near the middle, of any hue, on any ground.

    One lobe factor is uniform in [0.6, 1], the other two in [0, 0.25]. The other factors are uniform between `LOWEST`
    and `HIGHEST`. Picture `k` is the same for any `count`.

    Raises:
        ValueError: `count` is less than 1.
    """
    if count < 1:
        raise InvalidValue(f"count must be >= 1, got {count}")
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.stack([torch.rand(len(FACTORS) + 1, generator=generator, dtype=torch.double) for _ in range(count)])
    low, high = torch.tensor(LOWEST).double(), torch.tensor(HIGHEST).double()
    lobes = 0.25 * drawn[:, 6:9]
    winner = (drawn[:, 9:] * len(CLASS_NAMES)).long()
    lobes = lobes.scatter(1, winner, 0.6 + 1.6 * lobes.gather(1, winner))
    factors = torch.cat([low + (high - low) * drawn[:, :6], lobes], dim=1)
    images = torch.cat([render(part, size=size).float() for part in factors.split(256)])
    return Shapes(factors, images, labels_of(factors))


def renderer_tangent_space(factors: Tensor, *, size: int = 32) -> list[TangentSpace]:
    """The exact tangent space at the picture of each of `factors` `(N, 9)`. It has nine dimensions."""
    return decoder_tangent_space(lambda each: render(each, size=size), factors.double())


def write_folder(out: Path, count: int, *, seed: int = 0, size: int = 32, progress: bool = False) -> None:
    """Write `sample(count, seed)` as PNGs in one folder per class, as `freemcg train` reads them.

    Pictures already there are written again, unchanged; a larger `count` adds to them.
    """
    shapes = sample(count, seed, size=size)
    for name in CLASS_NAMES:
        (out / name).mkdir(parents=True, exist_ok=True)
    numbered = enumerate(zip(shapes.images, shapes.labels.tolist(), strict=True))
    for index, (image, label) in tqdm(numbered, desc="pictures", total=count, disable=not progress):
        array = (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        Image.fromarray(np.ascontiguousarray(array)).save(out / CLASS_NAMES[label] / f"{index:06d}.png")


def main(
    out: Annotated[Path, typer.Option(help="Folder of the class folders.")],
    images: Annotated[int, typer.Option(min=1, help="How many pictures.")] = 4000,
    size: Annotated[int, typer.Option(min=8, help="Side in pixels.")] = 32,
    seed: Annotated[int, typer.Option(help="Seed of the factors.")] = 0,
) -> None:
    """Write pictures of shapes, on which to train a denoiser and a classifier."""
    write_folder(out, images, seed=seed, size=size, progress=True)


if __name__ == "__main__":
    typer.run(main)
