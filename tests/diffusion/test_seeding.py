from __future__ import annotations

import pytest
import torch

from freemcg.diffusion.noise import generator_for, particle_noise


def draw(*purpose):
    return torch.randn(8, generator=generator_for(*purpose))


def test_the_same_purpose_draws_the_same():
    torch.manual_seed(1)
    first = draw(3, "train", 5, 0)
    torch.manual_seed(2)
    torch.randn(100)
    assert torch.equal(draw(3, "train", 5, 0), first)


@pytest.mark.parametrize(
    "other",
    [(4, "train", 5, 0), (3, "start", 5, 0), (3, "train", 6, 0), (3, "train", 5, 1), (3, "train", 50), (3, "train", 5)],
)
def test_another_purpose_draws_something_else(other):
    assert not torch.isclose(draw(3, "train", 5, 0), draw(*other)).any()


def test_purposes_do_not_run_into_one_another():
    """Without a mark between the words, seed 1 with step 12 would be the same as seed 11 with step 2."""
    assert not torch.equal(draw(1, 12), draw(11, 2))
    assert not torch.equal(draw(1, 1, 12), draw(1, 11, 2))


def test_drawing_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    particle_noise(0, "particles", 0, 3, (1, 2, 2))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("count", [0, 1, 4, 9])
def test_a_row_does_not_depend_on_how_many_there_are(count):
    shape = (3, 4, 2)
    many = particle_noise(5, "start", 2, 12, shape)
    few = particle_noise(5, "start", 2, count, shape)
    assert few.shape == (count, *shape)
    assert few.dtype == torch.float32
    assert torch.equal(few, many[:count])
    assert len(many.flatten().unique()) == many.numel()


def test_noise_is_standard_normal_and_rows_are_independent():
    noise = particle_noise(0, "particles", 0, 400, (1, 5, 5)).double().flatten(1)
    assert abs(noise.mean().item()) < 4 / noise.numel() ** 0.5
    assert noise.var().item() == pytest.approx(1, abs=4 * (2 / noise.numel()) ** 0.5)
    between = torch.corrcoef(noise) - torch.eye(400)
    assert between.abs().max() < 1  # no row is a copy of another
    assert between.square().sum().item() / (400 * 399) == pytest.approx(1 / 24, rel=0.05)


@pytest.mark.parametrize(("first", "count"), [(0, 12), (3, 4), (11, 1), (5, 0)])
def test_later_rows_can_be_drawn_without_the_earlier(first, count):
    many = particle_noise(5, "start", 2, 12, (3, 4))
    assert torch.equal(particle_noise(5, "start", 2, count, (3, 4), first=first), many[first : first + count])
