"""The attack on the weights, on images that lie in a known subspace."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from freemcg.evaluation import fool_weights
from freemcg.evaluation.fooling import attacked_map, gradient_shares

DIMENSIONS, PIXELS = 3, 16


@pytest.fixture
def basis(rng):
    return torch.linalg.qr(torch.randn(PIXELS, DIMENSIONS, generator=rng))[0]


@pytest.fixture
def images(rng, basis):
    """Images of 4x4 pixels that differ in three directions only."""
    return (torch.randn(200, DIMENSIONS, generator=rng) @ basis.T).reshape(-1, 1, 4, 4)


@pytest.fixture
def wanted():
    square = torch.zeros(1, 4, 4)
    square[:, 2:, 2:] = 1
    return square


def linear():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, 4)).eval().requires_grad_(False)


def shares(model, images):
    decided = model(images).argmax(dim=1)
    return gradient_shares(attacked_map(model, images.clone().requires_grad_(True), decided, 0)).detach()


def test_the_answers_fix_the_gradient_along_the_images_and_nothing_else(images, basis, wanted):
    """The fooled weights of a linear model are `W + A`, with `A` at right angles to all that the images differ in."""
    model, held_out = linear(), images[:50]
    fooled = fool_weights(model, images[50:], wanted, steps=1000, learning_rate=0.005, keep=30.0)
    answers = model(held_out)
    assert (fooled(held_out) - answers).square().mean().sqrt() < 0.2 * answers.std(dim=0).mean()
    before, after = model[1].weight, fooled[1].weight
    torch.testing.assert_close(after @ basis, before @ basis, atol=0.05, rtol=0)
    moved = (after - before) - (after - before) @ basis @ basis.T
    assert moved.norm() > 10 * ((after - before) @ basis).norm()
    inside = [(shares(each, held_out) * wanted).sum(dim=(1, 2)).mean() for each in (model, fooled)]
    assert inside[0] < 0.4
    assert inside[1] > 0.7


def test_with_nothing_to_keep_the_map_is_the_wanted_one(images, wanted):
    fooled = fool_weights(linear(), images, wanted, steps=800, learning_rate=0.005, keep=0.0)
    assert (shares(fooled, images) * wanted).sum(dim=(1, 2)).mean() > 0.95


def test_the_model_is_left_as_it_was_and_the_seed_decides_the_copy(images, wanted):
    model = linear()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first, again, other = (fool_weights(model, images, wanted, steps=5, seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(each.requires_grad for each in (*model.parameters(), *first.parameters()))
    assert torch.equal(first[1].weight, again[1].weight)
    assert not torch.equal(first[1].weight, other[1].weight)
    untouched = fool_weights(model, images, wanted, steps=0)
    assert torch.equal(untouched[1].weight, model[1].weight)
    assert untouched is not model


def test_a_map_that_cannot_be_wanted_and_a_model_in_training_are_refused(images, wanted):
    with pytest.raises(ValueError, match=r"for images \(200, 1, 4, 4\) give one map of an image, got \(1, 1, 4, 4\)"):
        fool_weights(linear(), images, wanted[None])
    for nothing in (torch.zeros_like(wanted), wanted / 0):
        with pytest.raises(ValueError, match="must be finite and not zero everywhere"):
            fool_weights(linear(), images, nothing)
    with pytest.raises(ValueError, match="there are no images"):
        fool_weights(linear(), images[:0], wanted)
    with pytest.raises(ValueError, match="training mode"):
        fool_weights(linear().train(), images, wanted)
