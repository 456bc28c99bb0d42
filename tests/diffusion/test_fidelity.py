"""What denoising loses of the input is given back. The denoiser is linear, so the laws are exact."""

from __future__ import annotations

import pytest
import torch

from freemcg import SharedSearch
from freemcg.diffusion.reverse import guided_reverse
from freemcg.tasks.shared_search import polish

SHARES = (0.0, 0.25, 1.0)


@pytest.fixture
def inputs(rng):
    """Two images close to grey, so that nothing is clipped."""
    return 0.5 + 0.02 * torch.randn(2, 1, 4, 4, generator=rng)


def path_of(denoiser, point, fidelity, push=0.0, eta=1.0):
    """All steps of a path `(steps, particles, 1, 4, 4)` that is pushed alike everywhere and at every step."""
    search = SharedSearch(particles=3, steps=9, strength=0.15, fidelity=fidelity, eta=eta)

    def pushed(now):
        return push * torch.linspace(-1, 1, 16).reshape(1, 4, 4).expand_as(now.points)

    return torch.stack(list(guided_reverse(denoiser, point, search, pushed, seed=2)))


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
def test_without_guidance_the_share_of_what_is_lost_comes_back(denoiser, inputs, eta):
    """Each step lies between what denoising leaves and the input, at just the share of the way."""
    lost = path_of(denoiser, inputs[0], 0.0, eta=eta) - inputs[0]
    assert lost.abs().max() > 0.02
    for share in SHARES:
        left = path_of(denoiser, inputs[0], share, eta=eta) - inputs[0]
        torch.testing.assert_close(left, (1 - share) * lost, rtol=0, atol=2e-6)


@pytest.mark.parametrize("share", SHARES)
def test_what_guidance_changes_is_kept_whole(denoiser, inputs, share):
    """The difference that guidance makes is the same with and without a share."""
    made = [path_of(denoiser, inputs[0], each, push=0.01) - path_of(denoiser, inputs[0], each) for each in (0.0, share)]
    assert made[0][-1].abs().max() > 1e-3
    torch.testing.assert_close(made[1], made[0], rtol=0, atol=2e-6)


def test_if_all_is_given_back_the_change_does_not_depend_on_the_input(denoiser, inputs):
    changes = [path_of(denoiser, point, 1.0, push=0.01) - point for point in inputs]
    torch.testing.assert_close(changes[0], changes[1], rtol=0, atol=2e-6)
    free = [path_of(denoiser, point, 0.0, push=0.01) - point for point in inputs]
    assert (free[0] - free[1]).abs().max() > 0.01


@pytest.mark.parametrize("share", SHARES)
def test_the_last_denoising_gives_back_its_share_of_the_input(denoiser, inputs, share):
    origin = inputs[0]

    def polished(fidelity, points):
        return polish(denoiser, points, origin, SharedSearch(fidelity=fidelity), seed=2)

    lost = origin - polished(0.0, origin[None])
    assert lost.abs().max() > 0.005
    torch.testing.assert_close(polished(share, inputs), polished(0.0, inputs) + share * lost, rtol=0, atol=1e-6)
