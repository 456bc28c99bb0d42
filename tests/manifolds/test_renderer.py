from __future__ import annotations

import math

import pytest
import torch

from freemcg.training.data import load_training_images
from manifolds import decoder_jacobian, on_manifold_gradient
from manifolds.renderer import (
    CLASS_NAMES,
    FACTORS,
    HIGHEST,
    LOWEST,
    render,
    renderer_tangent_space,
    sample,
    write_folder,
)


@pytest.fixture
def factors():
    return sample(6, seed=5, size=8).factors


def changed(factors, **values):
    factors = factors.clone()
    for name, value in values.items():
        factors[:, FACTORS.index(name)] += value
    return factors


def test_a_plain_ground_far_from_the_shape(factors):
    """A tiny shape lies in a corner. Elsewhere the ground is `(0.72 + 0.16 cos(hue - phase)) (1 - 0.12 down)`."""
    factors[:, :3] = torch.tensor([3.0, 3.0, 0.1])
    images = render(factors, size=16)
    down = (torch.arange(16).double() + 0.5) / 8 - 1
    for channel, phase in enumerate((0, math.tau / 3, 2 * math.tau / 3)):
        level = 0.72 + 0.16 * torch.cos(factors[:, 5] - phase)
        wanted = (level[:, None] * (1 - 0.12 * down))[:, :, None].expand(-1, -1, 16)
        torch.testing.assert_close(images[:, channel], wanted, rtol=0, atol=1e-4)


def test_a_shape_moves_by_whole_pixels(factors):
    """It moves only to the right, since the ground is darker below. The centre does not leave the picture."""
    before, after = render(factors, size=32), render(changed(factors, x=2 / 16), size=32)
    torch.testing.assert_close(after[..., 2:], before[..., :-2])


def test_boundary_is_as_far_as_the_formula_says():
    """Along the first lobe's axis the edge lies at `size (1 + sum of reaches)`. It is half shape and half ground."""
    base = torch.zeros(1, 9, dtype=torch.double)
    base[:, FACTORS.index("size")] = 0.4
    for name, reach in zip(CLASS_NAMES, (0.24, 0.17, 0.32), strict=True):
        shape = changed(base, **{name: 0.9})
        red, blue = (render(changed(shape, hue=h), size=1024)[0, 0, 511:513, 512:].mean(dim=0) for h in (0.0, math.pi))
        visible = red - blue  # the hue changes only the shape, weighted by 1 minus the light on it
        right = (torch.arange(512).double() + 0.5) / 512
        light = torch.exp(-((right + 0.14) ** 2 + 0.16**2) / (0.3 * 0.16))
        mask = visible / (0.8 * (1 - 0.6 * light))
        edge = right[(mask - 0.5).abs().argmin()]
        assert edge.item() == pytest.approx(0.4 * (1 + 0.9 * reach), abs=0.004)


@pytest.mark.parametrize(("name", "count"), [("clover", 3), ("square", 4), ("star", 5)])
def test_a_shape_of_n_lobes_looks_alike_after_an_nth_of_a_turn(name, count, factors):
    factors[:, -3:] = 0
    factors[:, FACTORS.index(name)] = 1
    turned = render(changed(factors, rotation=math.tau / count), size=16)
    torch.testing.assert_close(turned, render(factors, size=16))
    half = render(changed(factors, rotation=math.tau / count / 2), size=16)
    assert (half - render(factors, size=16)).abs().amax(dim=(1, 2, 3)).min() > 0.1


def test_pictures_are_in_range_even_for_extreme_factors(rng):
    low, high = torch.tensor(LOWEST).double(), torch.tensor(HIGHEST).double()
    place = torch.rand(200, 6, generator=rng).double()
    place[:, :3] = place[:, :3].round()
    lobes = torch.rand(200, 3, generator=rng).round().double()
    images = render(torch.cat([low + (high - low) * place, lobes], dim=1), size=32)
    assert 0 <= images.min() < 0.1
    assert 0.9 < images.max() <= 1


def test_sample_is_as_documented():
    few, many = sample(50, seed=3), sample(300, seed=3)
    assert torch.equal(few.images, many.images[:50])
    assert torch.equal(few.factors, many.factors[:50])
    assert not torch.equal(sample(50, seed=4).factors, few.factors)
    torch.testing.assert_close(many.images, render(many.factors).float())
    assert many.images.dtype == torch.float32
    lobes = many.factors[:, 6:].sort(dim=1).values
    assert torch.equal(many.labels, many.factors[:, 6:].argmax(dim=1))
    assert torch.bincount(many.labels).min() > 70
    assert 0.6 <= lobes[:, 2].min() < 0.62
    assert 0.98 < lobes[:, 2].max() <= 1
    assert 0.24 < lobes[:, :2].max() <= 0.25
    low, high = torch.tensor(LOWEST).double(), torch.tensor(HIGHEST).double()
    place = (many.factors[:, :6] - low) / (high - low)
    assert place.min() >= 0
    assert place.max() <= 1
    assert (place.mean(dim=0) - 0.5).abs().max() < 4 * (1 / 12 / 300) ** 0.5


def test_tangent_space_has_a_dimension_a_factor_and_holds_every_small_change(factors):
    jacobian = decoder_jacobian(lambda each: render(each, size=16), factors)
    for index, space in enumerate(renderer_tangent_space(factors, size=16)):
        assert space.rank == 9
        step = 1e-5 * torch.eye(9, dtype=torch.double)
        one, other = (render(factors[index] + sign * step, size=16) for sign in (1, -1))
        differences = (one - other) / 2e-5
        torch.testing.assert_close(differences, jacobian[index].movedim(-1, 0), rtol=0, atol=1e-7)
        assert (space.alignment(differences) > 1 - 1e-8).all()
        assert (jacobian[index].flatten(0, -2).norm(dim=0) > 0.3).all()  # every factor has an effect


def test_true_gradient_of_a_classifier_by_the_chain_rule_through_the_factors(factors, rng):
    """`J (J^T J)^-1 d f(render(z)) / dz`, which never differentiates the classifier with respect to a pixel."""
    weights = torch.randn(3 * 16 * 16, 40, generator=rng, dtype=torch.double) / 16
    function = lambda images: torch.tanh(images.flatten(1) @ weights).square().sum(dim=1)  # noqa: E731
    decode = lambda each: render(each, size=16)  # noqa: E731
    found = on_manifold_gradient(function, decode, factors)
    leaf = factors.clone().requires_grad_(True)
    (slopes,) = torch.autograd.grad(function(decode(leaf)).sum(), leaf)
    jacobian = decoder_jacobian(decode, factors).flatten(1, -2)
    wanted = (torch.linalg.pinv(jacobian).mT @ slopes[:, :, None]).reshape(found.shape)
    torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-12)
    pixels = decode(factors).requires_grad_(True)
    (raw,) = torch.autograd.grad(function(pixels).sum(), pixels)
    assert (found.flatten(1).norm(dim=1) < 0.9 * raw.flatten(1).norm(dim=1)).all()  # there was something to remove


def test_a_folder_of_pictures_is_what_training_reads(tmp_path):
    write_folder(tmp_path / "shapes", 30, seed=2, size=16)
    read = load_training_images(str(tmp_path / "shapes"), channels=3, image_size=16, progress=False)
    drawn = sample(30, seed=2, size=16)
    assert read.class_names == CLASS_NAMES
    order = drawn.labels.argsort(stable=True)
    assert torch.equal(read.labels, drawn.labels[order])
    assert torch.equal(read.images, (drawn.images[order] * 255).round().to(torch.uint8))


def test_refusals():
    for call, message in (
        (lambda: render(torch.zeros(2, 8)), "factors must be (N, 9), got (2, 8)"),
        (lambda: render(torch.zeros(2, 9), size=4), "size must be >= 8, got 4"),
        (lambda: sample(0), "count must be >= 1, got 0"),
    ):
        with pytest.raises(ValueError) as caught:
            call()
        assert str(caught.value) == message
