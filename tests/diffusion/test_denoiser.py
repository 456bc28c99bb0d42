from __future__ import annotations

import re
from types import SimpleNamespace

import diffusers
import pytest
import torch
from torch import nn
from unets import tiny_unet

from freemcg import BlackBox, Denoiser, FreeMCG
from freemcg.diffusion.noise import particle_noise
from freemcg.diffusion.particles import draw_particles
from freemcg.diffusion.realism import DRAWS, NOISE_LEVELS, denoising_error
from freemcg.ensemble import per_particle
from freemcg.gradient.estimator import Ensemble
from freemcg.gradient.objective import log_odds, log_probability
from freemcg.messages.errors import InvalidValue
from freemcg.settings import ESTIMATES

KINDS = ["epsilon", "sample", "v_prediction"]
SHAPES = [(1, 4, 4), (3, 2, 5)]
SCHEDULERS = [
    (diffusers.DDPMScheduler, {}),
    (diffusers.DDIMScheduler, {"beta_schedule": "squaredcos_cap_v2"}),
    (diffusers.PNDMScheduler, {"num_train_timesteps": 200, "beta_end": 0.09}),
    (diffusers.DPMSolverMultistepScheduler, {"beta_schedule": "scaled_linear"}),
]
SPREAD = 0.04  # deviation of a pixel in the model's range, whose end is twelve of it away: nothing is clipped


@pytest.fixture
def data(rng):
    """Mean `(C, H, W)` and covariance `(D, D)` of images in the model's range, which may lie on a plane."""

    def make(shape, rank=None):
        size = shape[0] * shape[1] * shape[2]
        mixing = torch.randn(size, rank or size, generator=rng, dtype=torch.float64)
        covariance = mixing @ mixing.T
        mean = torch.rand(shape, generator=rng, dtype=torch.float64) - 0.5
        return mean, covariance * (SPREAD**2 / covariance.diagonal().max())

    return make


@pytest.fixture
def gaussian(data, gaussian_network):
    """A `Denoiser` of Gaussian data, with the mean and covariance of that data."""

    def make(shape=(1, 4, 4), kind="epsilon", scheduler=diffusers.DDPMScheduler, rank=None, **settings):
        made = scheduler(prediction_type=kind, **settings)
        mean, covariance = data(shape, rank)
        return Denoiser(gaussian_network(mean, covariance, made), made), mean, covariance

    return make


def fixed(answer, channels=1, kind="epsilon", **config):
    """A denoiser whose network computes `answer(x_t, t)`."""
    network = nn.Module()
    network.forward = answer
    network.config = {"in_channels": channels, **config}
    return Denoiser(network.eval(), diffusers.DDPMScheduler(prediction_type=kind))


# --- the map (x_t, t) -> E[x_0 | x_t] ---


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("scheduler", "settings"), SCHEDULERS)
def test_denoised_gaussian_data_is_the_posterior_mean(scheduler, settings, kind, shape, gaussian, rng):
    """The information form is `(S^-1 + abar/(1 - abar) I)^-1 (S^-1 m + sqrt(abar)/(1 - abar) x_t)`."""
    denoiser, mean, covariance = gaussian(shape, kind, scheduler, **settings)
    made = scheduler(**settings)
    eye, precision = torch.eye(len(covariance), dtype=torch.float64), torch.linalg.inv(covariance)
    clean = mean + SPREAD * torch.randn(3, *shape, generator=rng, dtype=torch.float64)
    noise = torch.randn(3, *shape, generator=rng, dtype=torch.float64)
    for fraction in (0.01, 0.1, 0.4, 0.8):
        t = int(fraction * made.config.num_train_timesteps)
        x_t = denoiser.add_noise(clean / 2 + 0.5, t, noise)
        abar = made.alphas_cumprod[t].double()
        torch.testing.assert_close(x_t, abar.sqrt() * clean + (1 - abar).sqrt() * noise)
        seen = precision @ mean.flatten() + abar.sqrt() / (1 - abar) * x_t.flatten(1)
        posterior = torch.linalg.solve(precision + abar / (1 - abar) * eye, seen.T).T.reshape(x_t.shape)
        assert posterior.abs().max() < 1
        torch.testing.assert_close(denoiser.denoise(x_t, t), posterior / 2 + 0.5, rtol=0, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_a_learned_variance_is_dropped(kind, data, gaussian_network, rng):
    mean, covariance = data((3, 2, 3))
    scheduler = diffusers.DDPMScheduler(prediction_type=kind, variance_type="learned_range")
    plain = Denoiser(gaussian_network(mean, covariance, scheduler), scheduler)
    headed = Denoiser(gaussian_network(mean, covariance, scheduler, learned_variance=True), scheduler)
    x_t = torch.randn(2, 3, 2, 3, generator=rng, dtype=torch.float64)
    assert torch.equal(headed.denoise(x_t, 300), plain.denoise(x_t, 300))


def test_a_network_may_answer_a_bare_tensor(rng):
    noise = torch.randn(2, 1, 4, 4, generator=rng)
    image = torch.rand(2, 1, 4, 4, generator=rng)
    denoiser = fixed(lambda x_t, t: noise)
    torch.testing.assert_close(denoiser.denoise(denoiser.add_noise(image, 200, noise), 200), image)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 64])
def test_batch_size_changes_calls_not_results(batch_size, data, gaussian_network, rng):
    mean, covariance = data((1, 4, 4))
    scheduler = diffusers.DDPMScheduler()
    x_t = torch.randn(7, 1, 4, 4, generator=rng, dtype=torch.float64)
    expected = Denoiser(gaussian_network(mean, covariance, scheduler), scheduler).denoise(x_t, 150)
    network = gaussian_network(mean, covariance, scheduler)
    denoiser = Denoiser(network, scheduler, batch_size=batch_size)
    torch.testing.assert_close(denoiser.denoise(x_t, 150), expected, rtol=1e-12, atol=1e-12)
    assert network.batches == [min(batch_size, 7 - start) for start in range(0, 7, batch_size)]


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
def test_separate_takes_noisy_images_apart_whatever_the_network_predicts(kind):
    """The network takes `x_t / 2` for the noise. `separate` finds that noise again, with and without clipping."""

    def predict(x_t, t):
        abar = diffusers.DDPMScheduler().alphas_cumprod[t[0]].item()
        noise = x_t / 2
        clean = (x_t - (1 - abar) ** 0.5 * noise) / abar**0.5
        velocity = abar**0.5 * noise - (1 - abar) ** 0.5 * clean
        return {"epsilon": noise, "sample": clean, "v_prediction": velocity}[kind]

    denoiser = fixed(predict, kind=kind)
    for size in (0.1, 50.0):
        x_t = size * torch.linspace(-1, 1, 48, dtype=torch.double).reshape(1, 3, 4, 4)
        images, noise = denoiser.separate(x_t, 500)
        torch.testing.assert_close(noise, x_t / 2, rtol=1e-5, atol=1e-5)
        again = denoiser.add_noise(images, 500, noise)
        assert torch.allclose(again, x_t, rtol=1e-4, atol=1e-5) == (size == 0.1)
        assert 0 <= images.min() <= images.max() <= 1


def test_clean_images_are_clipped():
    denoiser = fixed(lambda x_t, t: 3 * x_t, kind="sample")
    x_t = torch.tensor([-0.9, 0.1, 0.9]).reshape(1, 1, 1, 3)
    torch.testing.assert_close(denoiser.denoise(x_t, 5).flatten(), torch.tensor([0.0, 0.65, 1.0]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_network_gets_its_own_kind_of_float_and_the_caller_theirs(dtype):
    seen = []

    def answer(x_t, t):
        seen.append(x_t.dtype)
        return x_t

    denoiser = fixed(answer, kind="sample")
    denoiser.unet.weight = nn.Parameter(torch.zeros(1, dtype=dtype))
    answered = denoiser.denoise(torch.zeros(1, 1, 2, 2), 5)
    assert seen == [dtype]
    assert answered.dtype == torch.float32
    assert not answered.requires_grad


def test_a_schedule_that_ends_without_signal_stays_finite(data, gaussian_network, rng):
    mean, covariance = data((1, 4, 4))
    scheduler = diffusers.DDIMScheduler(rescale_betas_zero_snr=True, prediction_type="v_prediction")
    assert scheduler.alphas_cumprod[-1] == 0
    denoiser = Denoiser(gaussian_network(mean, covariance, scheduler), scheduler)
    x_t = torch.randn(2, 1, 4, 4, generator=rng, dtype=torch.float64)
    expected = (mean / 2 + 0.5).expand(2, 1, 4, 4)
    torch.testing.assert_close(denoiser.denoise(x_t, 999), expected, rtol=0, atol=1e-3)


# --- noise levels ---


@pytest.mark.parametrize(("fraction", "t"), [(1e-9, 1), (0.001, 1), (0.2, 200), (0.4, 400), (0.9996, 999), (1, 999)])
def test_timestep_of_a_fraction(fraction, t, gaussian):
    assert gaussian()[0].timestep(fraction) == t


def test_timestep_of_a_fraction_of_a_short_schedule(gaussian):
    assert gaussian(num_train_timesteps=50)[0].timestep(0.5) == 25


@pytest.mark.parametrize(("scheduler", "settings"), SCHEDULERS)
def test_timestep_undoes_sigma(scheduler, settings, gaussian):
    denoiser, _, _ = gaussian(scheduler=scheduler, **settings)
    assert denoiser.timesteps == scheduler(**settings).config.num_train_timesteps
    for t in range(0, denoiser.timesteps, 7):
        abar = denoiser.alphas_cumprod[t].item()
        assert denoiser.sigma(t) == pytest.approx(((1 - abar) / abar) ** 0.5, rel=1e-12)
        assert denoiser.timestep(sigma=denoiser.sigma(t)) == t


def test_timestep_of_sigma_is_the_nearest_ratio():
    """Among the sigmas 1, 2 and 4, 1.45 lies nearer to 1 by difference, but nearer to 2 by ratio."""
    scheduler = SimpleNamespace(alphas_cumprod=1 / (1 + torch.tensor([1.0, 2.0, 4.0]).square()))
    denoiser = Denoiser(nn.Identity(), scheduler)
    assert [denoiser.timestep(sigma=sigma) for sigma in (1.35, 1.45, 2.7, 2.9)] == [0, 1, 1, 2]


@pytest.mark.parametrize(
    ("level", "message"),
    [
        ({}, "give the noise level as a fraction or as sigma, not both; got fraction=None, sigma=None"),
        (
            {"fraction": 0.2, "sigma": 1.0},
            "give the noise level as a fraction or as sigma, not both; got fraction=0.2, sigma=1.0",
        ),
        ({"fraction": 0}, "a noise level is a fraction of the schedule in (0, 1], got 0"),
        ({"fraction": 1.5}, "a noise level is a fraction of the schedule in (0, 1], got 1.5"),
        ({"fraction": float("nan")}, "a noise level is a fraction of the schedule in (0, 1], got nan"),
        ({"sigma": 0.001}, "sigma must lie in [0.01, 157.4], got 0.001"),
        ({"sigma": 1000.0}, "sigma must lie in [0.01, 157.4], got 1000.0"),
    ],
)
def test_a_noise_level_out_of_range_is_refused(level, message, gaussian):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        gaussian()[0].timestep(**level)


# --- what cannot be a denoiser ---


@pytest.mark.parametrize(
    ("config", "settings", "kind", "message"),
    [
        (
            {"class_embed_type": "timestep"},
            {},
            ValueError,
            "the network needs more than a class or a text besides the image (class_embed_type); take a diffusion "
            "model with num_class_embeds, one with a CLIPTextModel, or an unconditional one",
        ),
        (
            {"cross_attention_dim": 768},
            {},
            ValueError,
            "the network needs a text besides the image; load its pipeline whole, with Denoiser.from_pretrained",
        ),
        ({}, {"batch_size": 0}, ValueError, "batch_size must be >= 1, got 0"),
    ],
)
def test_a_network_that_cannot_be_used_is_refused(config, settings, kind, message):
    network = nn.Identity()
    network.config = config
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        Denoiser(network, diffusers.DDPMScheduler(), **settings)


WIDE = {"block_out_channels": (4,) * 4, "down_block_types": ("DownBlock2D",) * 4, "up_block_types": ("UpBlock2D",) * 4}


TORCH = "words of torch"


class Halving(nn.Module):
    """A network that halves and doubles again. It states no size, and answers 16x16 for 15x15."""

    def forward(self, x_t, t):
        return nn.functional.interpolate(nn.functional.avg_pool2d(x_t, 8, ceil_mode=True), scale_factor=8)


@pytest.mark.parametrize(
    ("network", "size", "message"),
    [
        (
            tiny_unet(sample_size=None, **WIDE),
            (15, 15),
            f"the denoiser UNet2DModel fails on images of 15x15 ({TORCH}); "
            "resize them to a multiple of 8, such as 8x8 or 16x16",
        ),
        (
            tiny_unet(sample_size=15, **WIDE),
            (15, 15),
            f"the denoiser UNet2DModel fails on images of 15x15 ({TORCH}); "
            "sample_size in its configuration must be a multiple of 8, such as 8x8 or 16x16",
        ),
        (
            Halving().eval(),
            (24, 19),
            "the denoiser Halving fails on images of 24x19 (the denoiser answered (1, 1, 24, 24) for noisy images "
            "(1, 1, 24, 19)); resize them to a multiple of 8, such as 24x16 or 32x24",
        ),
        (
            fixed(lambda x_t, t: x_t * float("nan")).unet,
            (9, 9),
            "the denoiser Module fails on images of 9x9 (the denoiser answered NaN or infinity at timestep 500; "
            "try it in float32)",
        ),
    ],
)
def test_images_that_the_network_fails_on_are_refused_before_the_first_query(network, size, message):
    denoiser, black_box = Denoiser(network, diffusers.DDPMScheduler()), BlackBox(lambda x: x.flatten(1))
    images, method = torch.rand(1, 1, *size), FreeMCG(black_box, denoiser)
    pattern = re.escape(message).replace(re.escape(TORCH), "Sizes of tensors must match.*")
    for use in (method.explain, method.attribute, method.stream, method.counterfactual, method.contrasts):
        with pytest.raises(InvalidValue, match=f"^{pattern}$"):
            use(images)
    assert black_box.queries == 0


def test_a_size_is_tried_once(rng):
    passes = []

    def answer(x_t, t):
        passes.append(tuple(x_t.shape))
        return x_t

    denoiser = fixed(answer)
    for height in (4, 4, 6, 4):
        denoiser.check_size(torch.rand(3, 1, height, 4, generator=rng))
    assert passes == [(1, 1, 4, 4), (1, 1, 6, 4)]


@pytest.mark.parametrize("size", ["8", [8], [8, 8, 8], 0, 8.5, True, [8, None]])
def test_a_sample_size_that_is_none_is_refused(size):
    message = f"sample_size in the network's configuration must be one whole number or two, got {size!r}"
    with pytest.raises(InvalidValue, match=f"^{re.escape(message)}$"):
        fixed(lambda x_t, t: x_t, sample_size=size)


@pytest.mark.parametrize("part", ["", "mid_block.resnets.0.dropout"])
def test_a_network_of_which_a_part_is_in_training_mode_is_refused_before_the_first_query(part):
    network = tiny_unet(dropout=0.5)
    network.get_submodule(part).train()
    denoiser, black_box = Denoiser(network, diffusers.DDPMScheduler()), BlackBox(lambda x: x.flatten(1))
    where = f"the part '{part}' of the denoiser" if part else "the denoiser"
    message = f"{where} is in training mode, where answers depend on the batch; call denoiser.unet.eval() first"
    images, method = torch.rand(1, 1, 8, 8), FreeMCG(black_box, denoiser)
    for use in (
        lambda: method.explain(images, 0),
        lambda: method.attribute(images, 0),
        lambda: method.stream(images, 0),
        lambda: method.contrasts(images, [0, 1]),
        lambda: method.difference(BlackBox(lambda x: x.flatten(1)), images, 0),
        lambda: method.counterfactual(images, 0),
        lambda: method.counterfactuals(images, 0),
        lambda: denoiser.denoise(images, 9),
        lambda: denoiser.differentiable(9)(images),
        lambda: denoiser.pull_back(images, 9, images),
        lambda: denoising_error(denoiser, images, seed=0),
    ):
        with pytest.raises(InvalidValue, match=f"^{re.escape(message)}$"):
            use()
    assert black_box.queries == 0


@pytest.mark.parametrize(
    ("scheduler", "kind", "message"),
    [
        *(
            (
                unknown,
                TypeError,
                f"{type(unknown).__name__} has no alphas_cumprod; take a discrete-time scheduler such as "
                "DDPMScheduler, or one of EDMEulerScheduler, EDMDPMSolverMultistepScheduler, ScoreSdeVeScheduler, "
                "CMStochasticIterativeScheduler, FlowMatchEulerDiscreteScheduler",
            )
            for unknown in (SimpleNamespace(), diffusers.IPNDMScheduler())
        ),
        (
            SimpleNamespace(alphas_cumprod=torch.ones(3) / 2, config={"prediction_type": "flow"}),
            ValueError,
            "prediction_type is 'flow'; known are epsilon, sample, v_prediction",
        ),
        *(
            (
                SimpleNamespace(alphas_cumprod=torch.tensor(schedule)),
                ValueError,
                "alphas_cumprod of the scheduler must be one or more numbers in [0, 1]",
            )
            for schedule in ([], [0.9, float("nan")], [1.5, 0.5], [0.5, -0.5])
        ),
    ],
)
def test_a_scheduler_that_cannot_be_used_is_refused(scheduler, kind, message):
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        Denoiser(nn.Identity(), scheduler)


def test_a_scheduler_without_a_config_predicts_noise():
    assert Denoiser(nn.Identity(), SimpleNamespace(alphas_cumprod=[0.9, 0.5])).prediction.kind == "epsilon"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x_t, t: x_t[:, :, :3], "the denoiser answered (2, 1, 3, 4) for noisy images (2, 1, 4, 4)"),
        (lambda x_t, t: x_t.repeat(1, 3, 1, 1), "the denoiser answered (2, 3, 4, 4) for noisy images (2, 1, 4, 4)"),
        (lambda x_t, t: x_t * float("nan"), "the denoiser answered NaN or infinity at timestep 20; try it in float32"),
        (lambda x_t, t: x_t / 0, "the denoiser answered NaN or infinity at timestep 20; try it in float32"),
    ],
)
def test_a_bad_answer_of_the_network_is_refused(answer, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        fixed(answer).denoise(torch.ones(2, 1, 4, 4), 20)


# --- the whole chain on Gaussian data ---


def jacobian(covariance, abar):
    """The Jacobian `Cov[x_0 | x_t] sqrt(abar) / (1 - abar)`, with the covariance from the conditioning formula."""
    marginal = abar * covariance + (1 - abar) * torch.eye(len(covariance), dtype=torch.float64)
    posterior = covariance - abar * covariance @ torch.linalg.solve(marginal, covariance)
    return posterior * (abar**0.5 / (1 - abar))


@pytest.mark.parametrize("kind", KINDS)
def test_particles_follow_the_denoisers_jacobian(kind, gaussian):
    """Particles are `N(E[x_0 | sqrt(abar) x], (1 - abar) G G^T)`, with `G` the Jacobian. In [0, 1] they are halved."""
    shape, count, t = (1, 4, 4), 2000, 250
    denoiser, mean, covariance = gaussian(shape, kind)
    abar = denoiser.alphas_cumprod[t].item()
    gain, shift = jacobian(covariance, abar), torch.full((16,), SPREAD / 2).double()
    expected_mean = (mean.flatten() + abar**0.5 * gain @ shift) / 2 + 0.5
    root = (1 - abar) ** 0.5 * gain / 2

    image = (mean + SPREAD / 2) / 2 + 0.5
    drawn = draw_particles(denoiser, image, t, count, seed=3, step=5).flatten(1)
    noise = particle_noise(3, "particles", 5, count, shape).double().flatten(1)
    torch.testing.assert_close(drawn, expected_mean + noise @ root.T, rtol=0, atol=1e-9)

    white = torch.linalg.solve(root, (drawn - expected_mean).T)  # it is standard normal if mean and scale are right
    assert white.mean(dim=1).abs().max() < 4.5 / count**0.5
    assert white.square().mean().item() == pytest.approx(1, abs=4 * (2 / white.numel()) ** 0.5)
    assert (torch.cov(white) - torch.eye(16)).abs().max() < 5 * (2 / count) ** 0.5


def linear_black_box(slope):
    """A black box with logits `(0, slope . x)`, so the log-odds of class 1 are linear in the pixels."""
    return BlackBox(lambda images: torch.stack([torch.zeros(len(images)), images.flatten(1) @ slope], dim=1))


def ask(denoiser, image, slope, estimate, objective=log_odds, particles=60, queries=20):
    """The gradient of one ensemble, its particles, and the images asked about. All are flat, in float64."""
    black_box, asked = linear_black_box(slope), []
    ensemble = Ensemble(denoiser, image, 250, particles=particles, seed=11, step=2)

    def remember(images):
        asked.append(images)
        return black_box(images)

    ensemble.ask(remember, queries, estimate)
    assert ensemble.queries == black_box.queries == sum(map(len, asked))
    drawn = draw_particles(denoiser, image, 250, max(particles, queries), seed=11, step=2).double().flatten(1)
    points = torch.cat(asked).double().flatten(1) if asked else drawn[:0]
    answer = ensemble.gradient(objective, 1, estimate)
    assert len(answer.values) == len(points) == ensemble.queries
    return answer, drawn, points


@pytest.fixture
def chain(gaussian, rng):
    """A denoiser of Gaussian RGB data, an image of it in float32, and a slope of the black box."""

    def make(rank=None):
        denoiser, mean, covariance = gaussian((3, 2, 3), "sample", rank=rank)
        return denoiser, (mean / 2 + 0.5).float(), torch.randn(18, generator=rng), covariance

    return make


@pytest.mark.parametrize("queries", [20, 60, 75])
def test_cross_covariance_of_the_chain_is_the_particles_covariance_times_the_slope(queries, chain):
    """If more are asked about than `particles`, then as many are drawn."""
    denoiser, image, slope, _ = chain()
    answer, drawn, points = ask(denoiser, image, slope, "cross_covariance", queries=queries)
    asked = drawn[:queries]
    expected = torch.cov(asked.T) @ slope.double()
    torch.testing.assert_close(answer.gradient.double().flatten(), expected, rtol=1e-3, atol=1e-4 * expected.norm())
    torch.testing.assert_close(points, asked, rtol=0, atol=1e-7)
    torch.testing.assert_close(answer.values.double(), asked @ slope.double(), rtol=1e-5, atol=1e-5)
    assert answer.has_signal


@pytest.mark.parametrize(("queries", "asked"), [(2, 2), (8, 8), (19, 19), (50, 19)])
def test_sigma_points_of_the_chain_are_exact_on_the_leading_axes(queries, asked, chain):
    denoiser, image, slope, _ = chain()
    answer, drawn, points = ask(denoiser, image, slope, "sigma_points", queries=queries)
    values, vectors = torch.linalg.eigh(torch.cov(drawn[:60].T))
    leading = vectors[:, -(asked - 1) :]
    expected = leading @ (values[-(asked - 1) :] * (leading.T @ slope.double()))
    assert len(points) == asked
    torch.testing.assert_close(answer.gradient.double().flatten(), expected, rtol=1e-3, atol=1e-4 * expected.norm())
    torch.testing.assert_close(points[0], drawn[:60].mean(dim=0), rtol=0, atol=1e-6)
    assert answer.standard_error.isinf().all()
    assert answer.parts is None


@pytest.mark.parametrize(("queries", "on_axes"), [(20, 13), (27, 18), (60, 19)])
def test_control_variate_of_the_chain_asks_two_of_three_on_axes_and_sees_all_particles(queries, on_axes, chain):
    """The score is linear. The leading axes miss little, and with all 18 axes there is nothing to correct."""
    denoiser, image, slope, _ = chain()
    answer, drawn, points = ask(denoiser, image, slope, "control_variate", queries=queries)
    torch.testing.assert_close(points[0], drawn[:60].mean(dim=0), rtol=0, atol=1e-6)
    torch.testing.assert_close(points[on_axes:], drawn[: queries - on_axes], rtol=0, atol=1e-7)
    expected = torch.cov(drawn[:60].T) @ slope.double()
    error = (answer.gradient.double().flatten() - expected).norm() / expected.norm()
    assert error < (1e-3 if on_axes == 19 else 0.1)
    assert answer.standard_error.isfinite().all()
    assert answer.parts.asked == queries - on_axes
    if on_axes == 19:
        assert answer.parts.residual < 1e-6 * answer.parts.sampling


@pytest.mark.parametrize("estimate", ESTIMATES)
def test_asking_in_steps_is_asking_at_once(estimate, chain):
    denoiser, image, slope, _ = chain()
    black_box = linear_black_box(slope)
    at_once, in_steps = (Ensemble(denoiser, image, 250, particles=60, seed=11) for _ in range(2))
    at_once.ask(black_box, 31, estimate)
    for queries in (7, 1, 16, 7):
        in_steps.ask(black_box, queries, estimate)
    assert in_steps.queries == at_once.queries
    wanted, found = (each.gradient(log_odds, 1, estimate) for each in (at_once, in_steps))
    torch.testing.assert_close(found.values, wanted.values, rtol=0, atol=1e-6)
    close = 0.02 if estimate == "regression" else 1e-4  # float32 answers, see above
    assert (found.gradient - wanted.gradient).norm() < close * wanted.gradient.norm()
    if wanted.standard_error.isfinite().all():
        assert (found.standard_error - wanted.standard_error).norm() < 10 * close * wanted.standard_error.norm() + 1e-7
    else:
        assert found.standard_error.isinf().all()


def test_growing_draws_the_particles_that_a_larger_ensemble_has(chain):
    denoiser, image, _, _ = chain()
    small, large = (Ensemble(denoiser, image, 250, particles=count, seed=11, step=2) for count in (10, 35))
    small.grow(20)
    small.grow(15)
    assert len(small.particles) == 20
    small.grow(35)
    torch.testing.assert_close(small.particles, large.particles, rtol=0, atol=1e-7)


def test_regression_of_the_chain_is_the_slope_on_the_plane_of_the_data(chain):
    denoiser, image, slope, covariance = chain(rank=3)
    answer, *_ = ask(denoiser, image, slope, "regression")
    _, vectors = torch.linalg.eigh(covariance)
    plane = vectors[:, -3:]
    expected = plane @ plane.T @ slope.double()
    error = (answer.gradient.double().flatten() - expected).norm() / expected.norm()
    assert (
        error < 0.02
    )  # the box answers in float32; if there are more particles than axes, the ridge of 1e-6 amplifies its rounding


def test_per_particle_of_the_chain_is_the_mean_of_the_papers_terms(chain):
    """As in the paper, `y` are raw logits and `e^k = onehot - softmax(y^k)`."""
    denoiser, image, slope, _ = chain()
    answer, drawn, _ = ask(denoiser, image, 20 * slope, "per_particle", log_probability)
    asked = drawn[:20]
    logits = torch.stack([torch.zeros(20).double(), asked @ (20 * slope.double())], dim=1)
    weights = torch.tensor([0.0, 1.0]).double() - logits.softmax(dim=1)
    terms = per_particle(asked, logits, weights)
    expected = terms.mean(dim=0)
    torch.testing.assert_close(answer.gradient.double().flatten(), expected, rtol=1e-3, atol=1e-4 * expected.norm())
    error = 20 / 18 * ((terms - expected).square().sum(dim=0) / 19 / 20).sqrt()  # the jackknife's error
    torch.testing.assert_close(answer.standard_error.double().flatten(), error, rtol=1e-2, atol=1e-3 * error.norm())


@pytest.mark.parametrize("estimate", ESTIMATES)
def test_nothing_points_off_the_plane_of_the_data(estimate, chain):
    denoiser, image, slope, covariance = chain(rank=3)
    answer, *_ = ask(denoiser, image, slope, estimate, log_probability)
    _, vectors = torch.linalg.eigh(covariance)
    gradient = answer.gradient.double().flatten()
    off = gradient - vectors[:, -3:] @ (vectors[:, -3:].T @ gradient)
    assert off.norm() < (0.02 if estimate == "regression" else 1e-4) * gradient.norm()  # float32 answers, see above


@pytest.mark.parametrize("estimate", ESTIMATES)
def test_a_constant_black_box_has_no_signal(estimate, chain):
    denoiser, image, slope, _ = chain()
    answer, *_ = ask(denoiser, image, 0 * slope, estimate)
    assert not answer.has_signal
    assert answer.gradient.abs().max() == 0


def test_a_denoiser_that_leaves_nothing_to_differ_costs_one_query_and_has_no_signal():
    """Every particle is the same, so there is no axis, and only their mean can be asked about."""
    denoiser = fixed(lambda x_t, t: 0 * x_t, kind="sample")
    answer, _, points = ask(denoiser, torch.rand(1, 2, 2), torch.ones(4), "sigma_points")
    assert len(points) == 1
    assert not answer.has_signal
    assert answer.gradient.abs().max() == 0


# --- realism ---


def test_denoising_error_of_gaussian_data(gaussian, rng):
    """`eps - eps_theta = sqrt(abar / (1 - abar)) (xh - x)`, averaged over the same noise for every image."""
    denoiser, mean, covariance = gaussian()
    clean = mean + 0.1 * torch.randn(2, 1, 4, 4, generator=rng, dtype=torch.float64)
    expected = torch.zeros(2).double()
    for t in (100, 200, 300, 400):
        abar = denoiser.alphas_cumprod[t].item()
        gain = jacobian(covariance, abar)
        for noise in particle_noise(7, "realism", t, DRAWS, (1, 4, 4)).double():
            seen = abar**0.5 * (clean - mean) + (1 - abar) ** 0.5 * noise
            missed = mean + (seen.flatten(1) @ gain.T).reshape(clean.shape) - clean
            expected += abar / (1 - abar) * missed.square().mean(dim=(1, 2, 3)) / (DRAWS * len(NOISE_LEVELS))
    errors = denoising_error(denoiser, clean / 2 + 0.5, seed=7)
    torch.testing.assert_close(errors.double(), expected, rtol=1e-5, atol=0)


def test_an_image_restored_exactly_has_no_denoising_error(rng):
    image = torch.rand(1, 1, 4, 4, generator=rng)
    restored = fixed(lambda x_t, t: (2 * image - 1).expand_as(x_t), kind="sample")
    assert denoising_error(restored, image).item() == pytest.approx(0, abs=1e-9)
