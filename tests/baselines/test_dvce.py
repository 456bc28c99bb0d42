"""DVCE: against the paper's formula written out, the cone in closed form, and what is refused."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn

from baselines.dvce import DVCE, onto_cone
from freemcg import Denoiser
from freemcg.blackbox.preparation import as_file
from freemcg.diffusion.noise import particle_noise
from freemcg.diffusion.reverse import posterior

SHAPE = (1, 4, 4)


class Bent(nn.Module):
    """Three classes, whose logits bend with the image."""

    def __init__(self, seed: int = 3) -> None:
        super().__init__()
        self.weight = nn.Parameter(2 * torch.randn(16, 3, generator=torch.Generator().manual_seed(seed)))

    def forward(self, images: Tensor) -> Tensor:
        return torch.tanh((images - 0.5).flatten(1) @ self.weight) * 3


@pytest.fixture
def denoiser(gaussian_network) -> Denoiser:
    scheduler = DDPMScheduler()
    spread = torch.diag(torch.linspace(0.02, 0.3, 16).double())
    network = gaussian_network(torch.zeros(SHAPE, dtype=torch.double), spread, scheduler)
    return Denoiser(network.float(), scheduler)


@pytest.fixture
def image() -> Tensor:
    return 0.3 + 0.4 * torch.rand(SHAPE, generator=torch.Generator().manual_seed(1))


def unit(values: Tensor) -> Tensor:
    return values / values.norm()


def by_the_formula(model, denoiser, image, target, *, steps, guidance, distance, robust=None, degrees=30.0, seed=0):
    """Augustin et al. 2022, sec. 3, with the mean and the variance of Ho et al. 2020, eq. 7, by autograd."""
    abars = denoiser.alphas_cumprod
    start = denoiser.timestep(0.5)
    times = [round(start * (1 - index / steps)) for index in range(steps)]
    noise = particle_noise(seed, "start", 0, 1, SHAPE)
    x = abars[start].sqrt() * (2 * image - 1) + (1 - abars[start]).sqrt() * noise
    for step, (t, after) in enumerate(itertools.pairwise(times)):
        leaf = x.detach().requires_grad_(True)
        clean = denoiser.differentiable(t)(leaf)
        (away,) = torch.autograd.grad((clean - image).abs().sum(), leaf, retain_graph=True)
        (up,) = torch.autograd.grad(model(clean).log_softmax(dim=1)[0, target], leaf, retain_graph=True)
        if robust is not None:
            (axis,) = torch.autograd.grad(robust(clean).log_softmax(dim=1)[0, target], leaf)
            up = onto_cone(up, axis, degrees)
        alpha = abars[t] / abars[after]
        x_0 = 2 * clean.detach() - 1
        mean = abars[after].sqrt() * (1 - alpha) / (1 - abars[t]) * x_0
        mean = mean + alpha.sqrt() * (1 - abars[after]) / (1 - abars[t]) * x
        variance = (1 - abars[after]) / (1 - abars[t]) * (1 - alpha)
        moved = mean + variance * mean.norm() * (guidance * unit(up) - distance * unit(away))
        x = (moved + variance.sqrt() * particle_noise(seed, "reverse", step, 1, SHAPE)).detach()
    with torch.no_grad():
        return denoiser.differentiable(times[-1])(x)[0]


@pytest.mark.parametrize("robust", [None, Bent(5).eval()], ids=["alone", "robust"])
@pytest.mark.parametrize(("guidance", "distance"), [(0.1, 0.15), (0.0, 0.3), (0.5, 0.0)])
def test_it_does_what_the_formula_says(denoiser, image, guidance, distance, robust):
    model = Bent().eval()
    settings = {"steps": 12, "guidance": guidance, "distance": distance, "robust": robust, "seed": 7}
    target = int(model(image[None])[0].argmin())
    result = DVCE(model, denoiser, **settings).counterfactual(image, target)
    wanted = by_the_formula(model, denoiser, image, target, **settings).clamp(0, 1)
    assert result.l1 > 0.01
    assert (result.image - as_file(wanted[None])[0]).abs().max() <= 1.01 / 255
    assert result.queries == DVCE(model, denoiser, **settings).most == 13


def test_it_decides_otherwise_where_it_is_guided_enough_and_stays_near_where_it_is_pulled(denoiser, image):
    model = Bent().eval()
    target = int(model(image[None])[0].argmin())

    def found(**settings):
        return DVCE(model, denoiser, steps=40, **settings).counterfactual(image, target)

    assert not found(guidance=0.0).flipped
    assert found(guidance=1.0).flipped
    assert found(guidance=0.0, distance=3.0).l1 < 0.7 * found(guidance=0.0, distance=0.0).l1


def test_the_step_is_that_of_ddpm(denoiser):
    """The mean and the variance of `q(x_s | x_t, x_0)`, from the joint Gaussian of `x_s` and `x_t` given `x_0`."""
    points, noise = torch.rand(2, *SHAPE), torch.randn(2, *SHAPE)
    t, after = 500, 430
    a, b = denoiser.alphas_cumprod[t].item(), denoiser.alphas_cumprod[after].item()
    x_0, x_t = 2 * points - 1, denoiser.add_noise(points, t, noise)
    together = math.sqrt(a / b) * (1 - b)  # the covariance of both
    mean, variance = posterior(denoiser, points, noise, t, after)
    torch.testing.assert_close(mean, math.sqrt(b) * x_0 + together / (1 - a) * (x_t - math.sqrt(a) * x_0))
    assert variance == pytest.approx(1 - b - together**2 / (1 - a), rel=1e-4)


@pytest.mark.parametrize("degrees", [10.0, 30.0, 80.0])
def test_a_direction_outside_of_the_cone_is_turned_onto_it_in_their_plane(degrees):
    slopes, axes = torch.randn(2, 40, *SHAPE, generator=torch.Generator().manual_seed(2)).double()
    slopes[:20] = axes[:20] + 0.1 * slopes[:20]
    found = onto_cone(slopes, axes, degrees)
    limit = math.cos(math.radians(degrees))
    for slope, axis, new in zip(slopes, axes, found, strict=True):
        before = (unit(slope) * unit(axis)).sum().item()
        assert new.norm().item() == pytest.approx(1)
        assert (new * unit(axis)).sum().item() == pytest.approx(max(before, limit))
        plane = torch.stack([unit(axis).flatten(), unit(slope - before * slope.norm() * unit(axis)).flatten()])
        assert (plane @ new.flatten()).norm().item() == pytest.approx(1)
        assert (plane[1] @ new.flatten()).item() > 0
    assert ((found - slopes / slopes.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)).flatten(1).norm(dim=1) > 1e-6).any()


def test_a_direction_of_nothing_becomes_the_axis_and_nothing_at_all_stays_so():
    axis = torch.eye(16)[:1].reshape(1, *SHAPE)
    for slope in (torch.zeros(1, *SHAPE), -3 * axis):
        torch.testing.assert_close(onto_cone(slope, 5 * axis, 30.0), axis)
    assert onto_cone(axis, 0 * axis, 30.0).isfinite().all()
    torch.testing.assert_close(onto_cone(1e-30 * axis, axis, 30.0), axis)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 1}, "steps must be >= 2, got 1"),
        ({"guidance": -1}, "guidance must be >= 0 and finite, got -1"),
        ({"distance": math.nan}, "distance must be >= 0 and finite, got nan"),
        ({"strength": 0}, "strength must be in (0, 1], got 0"),
        ({"degrees": 90}, "degrees must be in (0, 90), got 90"),
        ({"steps": 600}, "steps must be <= 500, the timesteps below strength 0.5, got 600"),
        ({"robust": 3}, "DVCE differentiates the model and needs a torch.nn.Module, got int"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(denoiser, settings, message):
    with pytest.raises((ValueError, TypeError)) as caught:
        DVCE(Bent().eval(), denoiser, **settings)
    assert str(caught.value).startswith(message)


def test_nothing_of_the_models_changes(denoiser, image):
    model, robust = Bent().eval(), Bent(5).eval()
    before = [each.weight.clone() for each in (model, robust)]
    method = DVCE(model, denoiser, steps=4, robust=robust)
    method.counterfactual(image)
    assert all(torch.equal(each.weight, old) for each, old in zip((model, robust), before, strict=True))
    assert model.weight.grad is None
    assert robust.weight.grad is None
    assert method.settings["robust"] is not None
    assert DVCE(model, denoiser, steps=4).settings["robust"] is None
