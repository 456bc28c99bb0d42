from __future__ import annotations

import math

import pytest
import torch

from freemcg.models.bundle import load_bundle
from manifolds import geodesic
from manifolds.geodesic import _energy_gradient, _smoothed


def polar(latents):
    """Decode radius and angle to an image of two numbers. Its metric is flat, so geodesics are straight in it."""
    radius, angle = latents.unbind(1)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)[:, :, None, None]


def latents(*rows):
    return torch.tensor(rows, dtype=torch.double)


START, END = latents([1.0, 0.0]), latents([2.0, 1.2])


def test_polar_decoder_has_the_chord_as_geodesic():
    """The energy falls from 2.1789 (the straight latent line) to 1.77528, half the squared chord.

    The pieces are equal and lie on one line.
    """
    found = geodesic(polar, START, END, pieces=20, sweeps=200, tolerance=1e-12)
    chord = (polar(END) - polar(START)).flatten()
    assert found.straight_energy.item() == pytest.approx(2.1789, abs=5e-5)
    assert found.energy.item() == pytest.approx(1.77528, abs=5e-6)
    assert found.energy.item() == pytest.approx(0.5 * chord.square().sum().item(), rel=1e-9)
    assert found.length.item() == pytest.approx(chord.norm().item(), rel=1e-9)
    even = polar(START).flatten() + torch.linspace(0, 1, 21, dtype=torch.double)[:, None] * chord
    torch.testing.assert_close(found.images[0].flatten(1), even, rtol=0, atol=1e-4)
    torch.testing.assert_close(polar(found.latents[0]), found.images[0])


def test_arc_of_the_sphere():
    """The latents are latitude and longitude. The shortest way between two points of latitude 1 bends to the pole."""

    def sphere(points):
        latitude, longitude = points.unbind(1)
        ring = latitude.cos()
        return torch.stack([ring * longitude.cos(), ring * longitude.sin(), latitude.sin()], dim=1)[..., None, None]

    start, end = latents([1.0, 0.0]), latents([1.0, 2.0])
    pieces = 40
    found = geodesic(sphere, start, end, pieces=pieces, sweeps=100, tolerance=1e-12)
    arc = torch.acos((sphere(start) * sphere(end)).sum()).item()
    chords = 2 * pieces * math.sin(arc / 2 / pieces)
    assert found.length.item() == pytest.approx(chords, rel=1e-6)
    assert found.energy.item() == pytest.approx(chords**2 / 2, rel=1e-6)
    middle = found.latents[0, pieces // 2]
    assert middle[1].item() == pytest.approx(1.0, abs=1e-3)
    assert middle[0].item() == pytest.approx(math.atan(math.tan(1) / math.cos(1)), abs=1e-3)


def test_linear_decoder_is_straight_already(rng):
    matrix = torch.randn(3, 12, generator=rng, dtype=torch.double)
    decode = lambda z: (z @ matrix).reshape(-1, 1, 3, 4)  # noqa: E731
    start, end = torch.randn(2, 5, 3, generator=rng, dtype=torch.double)
    found = geodesic(decode, start, end, pieces=7)
    fractions = torch.linspace(0, 1, 8, dtype=torch.double)[:, None]
    torch.testing.assert_close(found.latents, start[:, None] + fractions * (end - start)[:, None])
    torch.testing.assert_close(found.energy, 0.5 * (decode(end) - decode(start)).flatten(1).square().sum(1))
    assert (_energy_gradient(decode, found.latents, found.images, 64).abs() < 1e-10).all()


def test_energy_gradient_is_that_of_the_energy(rng):
    curve = torch.cat([START, torch.rand(6, 2, generator=rng, dtype=torch.double), END])[None].requires_grad_(True)
    images = polar(curve[0])[None]
    energy = 0.5 * 7 * images.diff(dim=1).square().sum()
    (wanted,) = torch.autograd.grad(energy, curve)
    found = _energy_gradient(polar, curve.detach(), images.detach(), batch_size=4)
    torch.testing.assert_close(found, wanted[:, 1:-1])
    hessian = 7 * (2 * torch.eye(6) - torch.ones(6, 6).tril(1).triu(-1) + torch.eye(6)).double()
    torch.testing.assert_close(hessian @ _smoothed(found)[0], found[0])


@pytest.mark.parametrize("sweeps", [0, 2, 8])
def test_never_above_the_straight_line(sweeps):
    bundle = load_bundle()
    vae, images = bundle.vae.double(), bundle.images[:2].double()
    with torch.no_grad():
        start, end = vae.encode(torch.zeros_like(images)), vae.encode(images)
    found = geodesic(vae.decode, start, end, pieces=8, sweeps=sweeps, tolerance=0)
    assert (found.energy <= found.straight_energy).all()
    assert (found.length <= found.straight_length).all()
    assert (found.energy >= found.length**2 / 2 * (1 - 1e-12)).all()
    assert torch.equal(found.latents[:, 0], start)
    torch.testing.assert_close(found.latents[:, -1], end)
    fewer = {0: 1.0, 2: 0.96, 8: 0.94}[sweeps]  # bends enough to matter
    assert (found.energy <= fewer * found.straight_energy).all()


def test_curve_that_would_only_lengthen_is_kept_straight():
    """The last piece cuts a corner, and the others hardly move. More even pieces would have to follow the corner."""

    def corner(points):
        z = points[:, 0]
        up, right = 20 * (z - 0.9).clamp(0, 0.05), 20 * (z - 0.95).clamp(min=0)
        return torch.stack([right + z / 100, up], dim=1)[..., None, None]

    found = geodesic(corner, latents([0.0]), latents([1.0]), pieces=10, sweeps=40)
    assert found.length.item() == pytest.approx(found.straight_length.item(), rel=1e-12)
    assert found.energy.item() == pytest.approx(found.straight_energy.item(), rel=1e-12)
    assert found.length.item() == pytest.approx(0.009 + math.hypot(1.001, 1), rel=1e-6)


def test_each_curve_is_its_own_and_batch_size_changes_nothing():
    start, end = latents([1.0, 0.0], [0.5, 0.1], [2.0, -1.0]), latents([2.0, 1.2], [0.5, 2.5], [2.0, -1.0])
    together = geodesic(polar, start, end, pieces=6)
    for row in range(3):
        alone = geodesic(polar, start[row : row + 1], end[row : row + 1], pieces=6, batch_size=2)
        torch.testing.assert_close(alone.latents[0], together.latents[row])
    assert together.energy[2] == 0


def test_refusals():
    with pytest.raises(ValueError, match=r"^start and end must be latents \(B, k\), got \(1, 2\) and \(2, 2\)$"):
        geodesic(polar, START, torch.zeros(2, 2))
    with pytest.raises(ValueError, match=r"^pieces must be >= 1, got 0$"):
        geodesic(polar, START, END, pieces=0)
    with pytest.raises(ValueError, match=r"^sweeps must be >= 0, got -1$"):
        geodesic(polar, START, END, sweeps=-1)
    assert geodesic(polar, START, END, pieces=1).latents.shape == (1, 2, 2)
