"""What a counterfactual search keeps in memory, in bytes of float32."""

from __future__ import annotations

import gc

import pytest
import torch
from diffusers import DDPMScheduler
from live import LiveBytes
from torch import nn

from freemcg import BlackBox, Denoiser, FreeMCG, SharedSearch
from freemcg.gradient.objective import log_odds
from freemcg.tasks.shared_search import shared_search

SIDE = 16
POINT = 4 * SIDE**2


class Shrinking(nn.Module):
    """A network that takes a share of every pixel for noise."""

    def forward(self, x, time):
        return 0.3 * x


DENOISER = Denoiser(Shrinking().eval(), DDPMScheduler())
IMAGE = torch.full((1, SIDE, SIDE), 0.5)


def black_box():
    slope = torch.linspace(-3, 4, SIDE**2)
    return BlackBox(lambda x: torch.stack([(x - 0.5).flatten(1) @ slope, torch.zeros(len(x))], dim=1))


def peak(steps, particles):
    """The peak of a search that estimates one gradient, and what its candidates keep."""
    search = SharedSearch(particles=particles, steps=steps, refresh=1000, unpaid=4)
    gc.collect()
    with LiveBytes() as live:
        found = shared_search(black_box(), DENOISER, IMAGE, 0, log_odds, search, seed=0)
        gc.collect()
        assert len(found.paths) == steps
        return live.peak, live.now


@pytest.mark.parametrize("particles", [3, 8])
def test_a_search_keeps_each_candidate_once_a_step(particles):
    """The peak grows by `particles + 1` points a step, and so does what is kept. All else does not grow with steps."""
    few, many = peak(8, particles), peak(24, particles)
    for first, second in zip(few, many, strict=True):
        assert (second - first) / (16 * (particles + 1) * POINT) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(("steps", "particles"), [(4, 3), (9, 8)])
def test_a_result_keeps_its_own_path_and_image_alone(steps, particles):
    search = {"particles": particles, "steps": steps, "refresh": 3, "unpaid": 40, "trim": 0}
    result = FreeMCG(black_box(), DENOISER, search=search).counterfactual(IMAGE, target=1)
    assert result.path.shape == (steps, 1, SIDE, SIDE)
    assert result.path.untyped_storage().nbytes() == steps * POINT
    assert result.image.untyped_storage().nbytes() == POINT
