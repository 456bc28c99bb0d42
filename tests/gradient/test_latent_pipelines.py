"""A map with each kind of latent pipeline, for a prior that is known: saved, loaded, and compared with pixels."""

from __future__ import annotations

import diffusers
import pytest
import torch
from exact_latents import SIDE, save_exact_pipeline
from latents import LATENT

from freemcg import BlackBox, Denoiser, FreeMCG

NOISE, VARIANCE = 0.2, 0.09
SCHEDULER = diffusers.DDIMScheduler()


@pytest.mark.parametrize("kind", LATENT)
def test_the_map_of_a_saved_pipeline_is_that_of_a_model_on_pixels(kind, gaussian_network, tmp_path, rng):
    mean = save_exact_pipeline(kind, tmp_path, t=200, mean=0.1, variance=VARIANCE)
    latents = Denoiser.from_pretrained(tmp_path)
    prior = gaussian_network(mean.double(), VARIANCE * torch.eye(SIDE**2).double(), SCHEDULER)
    pixels = Denoiser(prior, SCHEDULER)
    assert latents.timestep(NOISE) == pixels.timestep(NOISE) == 200
    x_t = 0.5 * torch.randn(6, 1, SIDE, SIDE, generator=rng)
    torch.testing.assert_close(latents.denoise(x_t, 200), 2 * pixels.denoise(x_t, 200) - 1, rtol=0, atol=2e-3)
    weights, image = torch.randn(SIDE**2, 3, generator=rng), 0.5 + 0.05 * torch.randn(1, SIDE, SIDE, generator=rng)
    found = [
        FreeMCG(BlackBox(lambda images: 4 * (images - 0.5).flatten(1) @ weights), each, queries=queries).explain(
            image, 1
        )
        for each, queries in ((pixels, 33), (latents, 34))
    ]
    for name in ("values", "projected_gradient"):
        one, other = (getattr(each, name) for each in found)
        assert (one - other).norm() < 0.01 * one.norm(), name
        assert one.norm() > 1e-3
    contributions = [each.contribution().values for each in found]
    assert (contributions[0] - contributions[1]).norm() < 0.01 * contributions[0].norm()
