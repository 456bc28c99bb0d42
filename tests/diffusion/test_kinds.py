"""Models that take any sigma: EDM, consistency, variance-exploding scores, flow matching."""

from __future__ import annotations

import math
import re

import diffusers
import pytest
import torch
from kinds import PIPELINES, Exact, save_pipeline
from torch import nn
from unets import tiny_unet

from freemcg import BlackBox, Denoiser, FreeMCG
from freemcg.diffusion.kinds.sigma import levels_between
from freemcg.messages.errors import InvalidValue

SIGMAS = (0.03, 0.3, 0.72, 3.0, 40.0)
RANGES = {
    "edm": (0.002, 80),
    "edm of a velocity": (0.002, 80),
    "consistency": (0.002, 80),
    "score": (0.02, 2696),
    "flow": (0, math.inf),
}


@pytest.fixture
def images_of(rng):
    """Mean and covariance of Gaussian images in [-1, 1], float64."""

    def make(shape):
        size = math.prod(shape)
        mixing = torch.randn(size, size, generator=rng, dtype=torch.float64)
        mean = 0.6 * torch.rand(shape, generator=rng, dtype=torch.float64) - 0.3
        return mean, 0.01 * mixing @ mixing.T / size

    return make


@pytest.fixture(params=PIPELINES)
def kind(request):
    return request.param


@pytest.fixture
def saved(kind, tmp_path):
    """The network and the scheduler of a pipeline, and the denoiser that is read from it."""
    return *save_pipeline(kind, tmp_path / "prior"), Denoiser.from_pretrained(tmp_path / "prior")


def exact(kind, mean, covariance):
    scheduler = PIPELINES[kind][1](**PIPELINES[kind][2])
    return Denoiser(Exact(kind, mean, covariance, scheduler), scheduler)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_denoised_gaussian_images_are_the_posterior_mean(kind, sigma, images_of, rng):
    """The information form is `(S^-1 + I / sigma^2)^-1 (S^-1 m + x_sigma / sigma^2)`."""
    mean, covariance = images_of((3, 2, 3))
    denoiser = exact(kind, mean, covariance)
    t = denoiser.timestep(sigma=sigma)
    near = denoiser.sigma(t)
    assert near == pytest.approx(sigma, rel=0.1)
    images = (mean + 0.1 * torch.randn(4, 3, 2, 3, generator=rng, dtype=torch.float64)) / 2 + 0.5
    noise = torch.randn(4, 3, 2, 3, generator=rng, dtype=torch.float64)
    x_t = denoiser.add_noise(images, t, noise)
    seen = 2 * images - 1 + near * noise
    torch.testing.assert_close(x_t, seen / (1 + near**2) ** 0.5)
    precision = torch.linalg.inv(covariance)
    total = precision + torch.eye(18, dtype=torch.float64) / near**2
    wanted = torch.linalg.solve(total, (precision @ mean.flatten() + seen.flatten(1) / near**2).T).T.reshape(x_t.shape)
    found, left = denoiser.separate(x_t, t)
    torch.testing.assert_close(found, wanted / 2 + 0.5, rtol=0, atol=1e-5)
    torch.testing.assert_close(left, (seen - wanted) / near, rtol=0, atol=1e-3)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_a_saved_pipeline_is_denoised_by_the_formula_of_its_kind(kind, sigma, saved, rng):
    unet, _, denoiser = saved
    t = denoiser.timestep(sigma=sigma)
    s = denoiser.sigma(t)
    x = torch.randn(2, denoiser.channels, 8, 8, generator=rng)
    x_s = x * (1 + s**2) ** 0.5

    def ask(given, time):
        with torch.no_grad():
            return unet(given, torch.full((2,), time)).sample

    def edm(d, sign):
        answer = ask(x_s / (s**2 + d**2) ** 0.5, math.log(s) / 4)
        return d**2 / (s**2 + d**2) * x_s + sign * s * d / (s**2 + d**2) ** 0.5 * answer

    def consistency():
        answer = ask(x_s / (s**2 + 0.25) ** 0.5, 250 * math.log(s))
        return 0.25 / ((s - 0.002) ** 2 + 0.25) * x_s + 0.5 * (s - 0.002) / (s**2 + 0.25) ** 0.5 * answer

    def score():
        return x_s + s**2 / 2 * ask((x_s + 1) / 2, s / 2)

    def flow():
        part = s / (1 + s)
        return x_s / (1 + s) - part * ask(x_s / (1 + s), 1000 * part)

    formulas = {
        "edm": lambda: edm(0.4, 1),
        "edm of a velocity": lambda: edm(0.5, -1),
        "consistency": consistency,
        "score": score,
        "flow": flow,
    }
    wanted = formulas[kind]()
    found = denoiser.differentiable(t)(x)  # not clipped
    torch.testing.assert_close(found, wanted / 2 + 0.5, rtol=1e-5, atol=1e-5)
    assert found.std() > 0.05


def test_the_map_is_that_of_a_discrete_denoiser_of_the_same_images(kind, images_of, gaussian_network, rng):
    """Both have the same noise level. It is a fraction of each one's own schedule."""
    mean, covariance = images_of((1, 4, 4))
    scheduler = diffusers.DDPMScheduler()
    denoisers = (Denoiser(gaussian_network(mean, covariance, scheduler), scheduler), exact(kind, mean, covariance))
    weights = torch.randn(16, 3, generator=rng)
    maps = []
    for denoiser in denoisers:
        t = denoiser.timestep(sigma=0.72)
        explainer = FreeMCG(
            BlackBox(lambda images: 9 * images.flatten(1) @ weights), denoiser, noise=t / denoiser.timesteps, queries=33
        )
        maps.append(explainer.explain(mean.float() / 2 + 0.5, 1).values)
    assert (maps[1] - maps[0]).norm() < 1e-3 * maps[0].norm()
    assert maps[0].norm() > 0


def test_slopes_are_pulled_back_by_the_posterior_covariance(kind, images_of, rng):
    mean, covariance = images_of((1, 2, 3))
    denoiser = exact(kind, mean, covariance)
    t = denoiser.timestep(sigma=0.5)
    slopes = torch.randn(1, 1, 2, 3, generator=rng, dtype=torch.float64)
    found = denoiser.pull_back(mean[None] + 0.1, t, slopes)
    s = denoiser.sigma(t)
    gain = covariance @ torch.linalg.inv(covariance + s**2 * torch.eye(6, dtype=torch.float64))
    wanted = (1 + s**2) ** 0.5 / 2 * gain.T @ slopes.flatten()
    torch.testing.assert_close(found.flatten(), wanted, rtol=1e-5, atol=1e-6)


def test_the_levels_are_those_of_ddpm_within_the_range_of_the_model(kind, saved):
    _, _, denoiser = saved
    abar = diffusers.DDPMScheduler().alphas_cumprod.double()
    known = ((1 - abar) / abar).sqrt()
    lowest, highest = RANGES[kind]
    wanted = known[(known >= lowest) & (known <= highest)]
    found = torch.tensor([denoiser.sigma(t) for t in range(denoiser.timesteps)], dtype=torch.float64)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=0)
    assert denoiser.timesteps > 900
    assert denoiser.sigma(denoiser.timestep(0.2)) == pytest.approx(0.72, rel=0.12)


def test_a_sigma_out_of_the_range_of_the_model_is_refused(saved):
    denoiser = saved[2]
    for sigma in (1e-3, 1e4):
        with pytest.raises(InvalidValue, match=rf"^sigma must lie in \[0\.0.*\], got {sigma}$"):
            denoiser.timestep(sigma=sigma)


@pytest.mark.parametrize(
    "reach", [(1.0, 0.5), (0.0, 0.01), (200, 1000), (math.nan, 1.0), (0.5, math.nan), (0.5, 0.5), (-math.inf, -1.0)]
)
def test_a_range_without_two_levels_is_refused(reach):
    message = (
        "the denoiser's noise must reach from a sigma to a higher one, within 0.01 .. 157.4 for images in [-1, 1]; "
        f"got {reach[0]:g} .. {reach[1]:g}"
    )
    with pytest.raises(InvalidValue, match=f"^{re.escape(message)}$"):
        levels_between(*reach)


def test_identities_differ_by_kind_range_and_constants():
    unet = tiny_unet()
    schedulers = [
        diffusers.DDPMScheduler(),
        diffusers.EDMEulerScheduler(),
        diffusers.EDMEulerScheduler(sigma_data=0.6),
        diffusers.EDMEulerScheduler(sigma_max=60),
        diffusers.EDMEulerScheduler(prediction_type="v_prediction"),
        diffusers.CMStochasticIterativeScheduler(),
        diffusers.ScoreSdeVeScheduler(),
        diffusers.FlowMatchEulerDiscreteScheduler(),
    ]
    found = [Denoiser(unet, each).identity for each in schedulers]
    assert len(set(found)) == len(schedulers)
    assert found[1].endswith(":edm epsilon 0.5:0.002..80")
    same = Denoiser(unet, diffusers.EDMDPMSolverMultistepScheduler())  # another way to step, and the same model
    assert same.identity == found[1]


def test_an_answer_that_is_no_number_is_refused(kind):
    scheduler = PIPELINES[kind][1](**PIPELINES[kind][2])
    broken = nn.Module().eval()
    broken.forward = lambda x, time: x * math.nan
    message = "the denoiser answered NaN or infinity at timestep 20; try it in float32"
    with pytest.raises(InvalidValue, match=f"^{re.escape(message)}$"):
        Denoiser(broken, scheduler).denoise(torch.zeros(1, 1, 4, 4), 20)


def test_a_class_is_told_to_a_consistency_model(tmp_path, rng):
    unet, _ = save_pipeline("consistency", tmp_path, num_class_embeds=3)
    x = torch.randn(1, 1, 8, 8, generator=rng)
    found = [Denoiser.from_pretrained(tmp_path, condition=c).differentiable(300)(x) for c in (0, 2)]
    assert not torch.allclose(found[0], found[1], atol=1e-3)
    assert unet.config.num_class_embeds == 3
    with pytest.raises(InvalidValue, match="needs a class; give condition"):
        Denoiser.from_pretrained(tmp_path)


def test_a_prediction_of_edm_that_is_unknown_is_refused():
    message = "prediction_type is 'sample'; known are epsilon, v_prediction"
    with pytest.raises(InvalidValue, match=f"^{message}$"):
        Denoiser(nn.Identity(), diffusers.EDMEulerScheduler(prediction_type="sample"))
