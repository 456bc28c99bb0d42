"""The tables of alignment.py, from the attributions and tangent spaces that it kept."""

from __future__ import annotations

import torch
from torch import Tensor

from freemcg.evaluation import mean_interval
from manifolds import TangentSpace, random_alignment

PARTS = {"background": (-1.0, 0.05), "edges": (0.05, 0.95), "full strokes": (0.95, 2.0)}  # by brightness
NOISE_AMOUNTS = (0.5, 1.0, 1.5, 2.0, 3.0)  # of the norm of the gradient


def alignments(values: Tensor, bases: Tensor) -> Tensor:
    """Alignment of each image's attribution with its space, `(N,)`. It is NaN for an attribution of zero."""
    return torch.cat(
        [TangentSpace(basis.double()).alignment(each[None]) for basis, each in zip(bases, values, strict=True)]
    )


def print_table(maps: dict[str, Tensor], spaces: dict[str, Tensor]) -> None:
    """Print a row for each method: its alignment with each space, and the difference to that of the gradient."""
    found = {
        space: {name: alignments(values, bases) for name, values in maps.items()} for space, bases in spaces.items()
    }
    order = sorted(maps, key=lambda name: found["exact"][name].nanmean().item())
    print("| method | " + " | ".join(f"{space} | over Gradient" for space in spaces) + " |")
    print("| --- " * (1 + 2 * len(spaces)) + "|")
    for name in order:
        cells = []
        for space in spaces:
            here, gradient = found[space][name], found[space]["Gradient"]
            counted = ~(here.isnan() | gradient.isnan())  # a map that is zero everywhere has no direction
            cells.append(f"{mean_interval(here[counted]):.3f}")
            cells.append("" if name == "Gradient" else f"{mean_interval((here - gradient)[counted]):+.3f}")
        print(f"| {name} | " + " | ".join(cells) + " |")
    for space, bases in spaces.items():
        ranks = (bases.square().sum(dim=2) > 0.5).sum(dim=1).double()
        expected = random_alignment(round(ranks.mean().item()), bases.shape[2])
        print(f"{space}: mean rank {ranks.mean():.1f} in {bases.shape[2]} dimensions, random direction {expected:.4f}")


def print_parts(images: Tensor, gradients: Tensor, bases: Tensor) -> None:
    """Print where the gradient's energy is, by the brightness of the pixel, and the alignment of each part alone."""
    energy = gradients.flatten(1).square().sum(dim=1)
    for name, (low, high) in PARTS.items():
        part = gradients * ((images >= low) & (images < high))
        share = part.flatten(1).square().sum(dim=1) / energy
        aligned = alignments(part, bases)
        counted = ~aligned.isnan()
        print(f"gradient on {name}: {mean_interval(share[~share.isnan()]):.2f} of its energy, ", end="")
        print(f"alignment of that part {mean_interval(aligned[counted]):.3f}")


def print_noisier(images: Tensor, gradients: Tensor, averaged: Tensor, bases: Tensor) -> None:
    """Print the alignment for a classifier whose gradient has more noise off the manifold.

    A linear function of the image is added to the score. Its slope has a random direction for each image, and `amount`
    times the norm of the gradient. It is added to the gradient and to the averaged gradient of IG (from black).
    """
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    noise = noise / noise.flatten(1).norm(dim=1)[:, None, None, None]
    for amount in NOISE_AMOUNTS:
        added = amount * gradients.flatten(1).norm(dim=1)[:, None, None, None] * noise
        gradient = alignments(gradients + added, bases)
        print(f"with {amount} times as much noise: Gradient {mean_interval(gradient[~gradient.isnan()]):.3f}", end="")
        for name, values in (("IG", averaged), ("Input x Gradient", gradients)):
            over = alignments(images * (values + added), bases) - gradient
            print(f", {name} over it {mean_interval(over[~over.isnan()]):+.3f}", end="")
        print()
