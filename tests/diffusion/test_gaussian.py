"""A plain function that removes Gaussian noise from images in [0, 1], as a prior."""

from __future__ import annotations

import re
from functools import partial

import diffusers
import numpy as np
import pytest
import torch
from torch import nn

from freemcg import BlackBox, Denoiser, FreeMCG
from freemcg.messages.errors import InvalidType, InvalidValue

SHAPE = (1, 4, 4)
VARIANCE = 0.01  # of a pixel in [0, 1]


def shrink(noisy, s, mean=0.5):
    """The posterior mean for pixels `N(mean, VARIANCE)`."""
    return (VARIANCE * noisy + s**2 * mean) / (VARIANCE + s**2)


@pytest.mark.parametrize("sigma", [0.03, 0.2, 0.5, 0.9])
def test_the_function_gets_images_and_sigma_in_units_of_0_to_1(sigma, rng):
    seen = []

    def remember(noisy, s):
        seen.append((noisy, s))
        return shrink(noisy, s, 0.4)

    denoiser = Denoiser.gaussian(remember, sigmas=(0.01, 0.5))
    t = denoiser.timestep(sigma=sigma)
    s = denoiser.sigma(t) / 2
    images = 0.4 + 0.1 * torch.randn(3, *SHAPE, generator=rng)
    noise = torch.randn(3, *SHAPE, generator=rng)
    found, left = denoiser.separate(denoiser.add_noise(images, t, noise), t)
    ((noisy, given),) = seen
    assert given == pytest.approx(s, rel=1e-6)
    assert isinstance(given, float)
    assert noisy.is_contiguous()
    torch.testing.assert_close(noisy, images + s * noise, rtol=1e-5, atol=1e-5)
    wanted = (noisy / s**2 + 0.4 / VARIANCE) / (1 / s**2 + 1 / VARIANCE)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    torch.testing.assert_close(left, (noisy - wanted) / s, rtol=1e-3, atol=1e-3)


def test_the_map_is_that_of_a_discrete_denoiser_of_the_same_images(gaussian_network, rng):
    scheduler = diffusers.DDPMScheduler()
    mean, covariance = torch.zeros(SHAPE).double(), 4 * VARIANCE * torch.eye(16, dtype=torch.float64)
    discrete = Denoiser(gaussian_network(mean, covariance, scheduler), scheduler)
    weights, image = torch.randn(16, 3, generator=rng), 0.5 + 0.1 * torch.randn(SHAPE, generator=rng)
    maps = [
        FreeMCG(
            BlackBox(lambda images: 9 * images.flatten(1) @ weights),
            denoiser,
            noise=denoiser.timestep(sigma=0.4) / denoiser.timesteps,
        ).explain(image, 1)
        for denoiser in (discrete, Denoiser.gaussian(shrink, sigmas=(0.002, 0.3)))
    ]
    assert (maps[1].values - maps[0].values).norm() < 1e-3 * maps[0].values.norm()
    assert maps[1].record["denoiser"] == "shrink"


def test_slopes_are_pulled_back(rng):
    denoiser = Denoiser.gaussian(shrink, sigmas=(0.01, 0.5))
    t, slopes = denoiser.timestep(sigma=0.2), torch.randn(2, *SHAPE, generator=rng)
    s = denoiser.sigma(t)
    wanted = slopes * (1 + s**2) ** 0.5 / 2 * VARIANCE / (VARIANCE + s**2 / 4)
    torch.testing.assert_close(denoiser.pull_back(torch.zeros(2, *SHAPE), t, slopes), wanted)


def test_an_answer_of_numpy_is_read():
    denoiser = Denoiser.gaussian(lambda noisy, s: shrink(np.asarray(noisy), s), sigmas=(0.01, 0.5))
    plain = Denoiser.gaussian(shrink, sigmas=(0.01, 0.5))
    x_t = torch.linspace(-1, 1, 16).reshape(1, *SHAPE)
    torch.testing.assert_close(denoiser.denoise(x_t, 50), plain.denoise(x_t, 50))


class Blur(nn.Module):
    """A module, which is known by its weights."""

    def __init__(self, weight=0.5):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight), requires_grad=False)
        self.eval()

    def forward(self, noisy, s):
        return self.weight * noisy + (1 - self.weight) * noisy.mean(dim=(2, 3), keepdim=True)


def test_identities_differ_by_function_weights_and_range():
    made = [
        Denoiser.gaussian(Blur(), sigmas=(0.01, 0.5)),
        Denoiser.gaussian(Blur(0.6), sigmas=(0.01, 0.5)),
        Denoiser.gaussian(Blur(), sigmas=(0.01, 0.4)),
        Denoiser.gaussian(shrink, sigmas=(0.01, 0.5)),
        Denoiser.gaussian(partial(shrink, mean=0.2), sigmas=(0.01, 0.5)),
        Denoiser.gaussian(partial(shrink, mean=0.3), sigmas=(0.01, 0.5)),
    ]
    assert len({each.identity for each in made}) == len(made)
    assert Denoiser.gaussian(Blur(), sigmas=(0.01, 0.5)).identity == made[0].identity
    assert made[3].identity.startswith(f"{__name__}.shrink:")
    assert made[3].identity.endswith(":gaussian:0.02..1")
    assert [each.name for each in made[:4]] == ["Blur", "Blur", "Blur", "shrink"]


@pytest.mark.parametrize(
    ("sigmas", "kind", "message"),
    [
        (
            (0.5, 0.01),
            InvalidValue,
            "the denoiser's noise must reach from a sigma to a higher one, within 0.01 .. 157.4",
        ),
        ((0.001, 0.004), InvalidValue, "the denoiser's noise must reach from a sigma to a higher one, within 0.01 .. "),
        ((float("nan"), 1), InvalidValue, "sigmas must be in 0..inf, got nan"),
        ((-0.1, 1), InvalidValue, "sigmas must be in 0..inf, got -0.1"),
        (("low", 1), InvalidType, "sigmas must be a number, got 'low'"),
    ],
)
def test_a_range_that_is_none_is_refused(sigmas, kind, message):
    with pytest.raises(kind, match=f"^{re.escape(message)}"):
        Denoiser.gaussian(shrink, sigmas=sigmas)


def test_what_cannot_be_called_is_refused():
    with pytest.raises(InvalidType, match=r"^function must take noisy images and their sigma, got 3$"):
        Denoiser.gaussian(3, sigmas=(0.01, 0.5))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda y, s: y[:, :, :2], "the denoiser answered (1, 1, 2, 4) for noisy images (1, 1, 4, 4)"),
        (lambda y, s: y.repeat(1, 2, 1, 1), "the denoiser answered (1, 2, 4, 4) for noisy images (1, 1, 4, 4)"),
        (lambda y, s: y / 0, "the denoiser answered NaN or infinity at timestep 20; try it in float32"),
        (
            Blur().train(),
            "the part 'function' of the denoiser is in training mode, where answers depend on the batch; "
            "call denoiser.unet.eval() first",
        ),
    ],
)
def test_a_function_that_is_no_denoiser_is_refused(function, message):
    denoiser = Denoiser.gaussian(function, sigmas=(0.01, 0.5))
    with pytest.raises(InvalidValue, match=f"^{re.escape(message)}$"):
        denoiser.denoise(torch.zeros(1, *SHAPE), 20)


def test_a_network_in_training_mode_behind_a_function_is_refused():
    blur = Blur().train()
    denoiser = Denoiser.gaussian(lambda noisy, s: blur(noisy, s).clamp(0, 1), sigmas=(0.01, 0.5))
    message = "the blur is in training mode, where answers depend on the batch; call blur.eval() first"
    with pytest.raises(InvalidValue, match=f"^{re.escape(message)}$"):
        denoiser.denoise(torch.zeros(1, *SHAPE), 20)
    blur.eval()
    assert denoiser.denoise(torch.zeros(1, *SHAPE), 20).isfinite().all()
