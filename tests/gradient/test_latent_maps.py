"""Maps of latent models: the same as on pixels where the decoder is the identity, and right where it is not."""

from __future__ import annotations

from types import SimpleNamespace

import diffusers
import pytest
import torch
from latents import decoded, linear_autoencoder
from torch import nn

from freemcg import BlackBox, Denoiser, FreeMCG
from freemcg.diffusion.noise import particle_noise
from freemcg.ensemble import (
    PrincipalAxes,
    Pushforward,
    control_variate,
    linear_model,
    principal_axes,
    sigma_points,
)
from freemcg.gradient.estimator import Ensemble
from freemcg.gradient.objective import log_odds
from freemcg.settings import ESTIMATES

SCHEDULER = diffusers.DDPMScheduler()
AUTOENCODERS = {"AutoencoderKL": 0, "VQModel": 50_000}
SHAPE = (1, 6, 6)


@pytest.fixture
def prior(gaussian_network, rng):
    """The exact network for Gaussian images or latents of 36 numbers, with a falling spectrum."""

    def make(shape=SHAPE):
        size = shape[1] * shape[2]
        basis, _ = torch.linalg.qr(torch.randn(size, size, generator=rng, dtype=torch.float64))
        covariance = basis @ torch.diag(0.2 * 0.95 ** torch.arange(size).double()) @ basis.T
        mean = 0.2 * torch.rand(shape, generator=rng, dtype=torch.float64) - 0.1
        return gaussian_network(mean, covariance, SCHEDULER).float()

    return make


@pytest.fixture
def curved(rng):
    """A black box of three classes that is not linear in the pixels."""
    weights = torch.randn(36, 3, generator=rng)
    return lambda images: 3 * torch.tanh((images - 0.5).flatten(1) @ weights[: images[0].numel()])


@pytest.mark.parametrize("kind", AUTOENCODERS)
@pytest.mark.parametrize("estimate", ESTIMATES)
def test_latents_that_are_the_pixels_give_the_map_of_the_pixels(estimate, kind, prior, curved, rng):
    """With the scale `1 / gain`, latents are images in [-1, 1]. All axes are asked along, so no particle is unknown."""
    shape = (1, 4, 4)
    network, image = prior(shape), 0.5 + 0.05 * torch.randn(shape, generator=rng)
    autoencoder = linear_autoencoder(kind, gain=0.5, scaling_factor=2.0, codes=AUTOENCODERS[kind]).double()
    found = []
    for given, queries in ((None, 33), (autoencoder, 34)):
        denoiser = Denoiser(network, SCHEDULER, autoencoder=given, batch_size=4)
        found.append(FreeMCG(BlackBox(curved), denoiser, queries=queries, estimate=estimate).explain(image, 1))
    pixels, latents = found
    assert pixels.values.norm() > 1e-3
    for name in ("values", "standard_error", "projected_gradient", "projected_error"):
        one, other = getattr(pixels, name), getattr(latents, name)
        if one.isinf().all():
            assert other.isinf().all()
        else:
            assert (one - other).norm() < 0.01 * one.norm(), name
    assert latents.queries == pixels.queries + 1


class Bent(nn.Module):
    """A decoder that bends 9 latents into images of 36 pixels."""

    def __init__(self, rng) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.randn(9, 36, generator=rng) / 3, requires_grad=False)
        self.config = {"in_channels": 1, "out_channels": 1, "latent_channels": 1, "block_out_channels": (4, 4)}
        self.eval()

    def encode(self, x):
        return SimpleNamespace(latents=2 * nn.functional.avg_pool2d(x, 2))

    def decode(self, z):
        lines = z.flatten(1) @ self.weights
        return SimpleNamespace(sample=(torch.sin(4 * lines) + lines.square()).reshape(-1, *SHAPE) / 3)


@pytest.mark.parametrize(("queries", "less"), [(32, 1.0), (200, 0.6)])
def test_the_error_bars_of_a_map_hold_where_the_decoder_bends(queries, less, prior, curved, rng):
    """The truth is the covariance of very many decoded particles. Without the correction, the error stays."""
    denoiser = Denoiser(prior((1, 3, 3)), SCHEDULER, autoencoder=Bent(rng), batch_size=1000)
    image = 0.5 + 0.05 * torch.randn(SHAPE, generator=rng)
    t, point = denoiser.timestep(0.2), denoiser.encode(image[None])[0]
    ratios, errors, alone = [], [], []
    for seed in range(24):
        ensemble = Ensemble(denoiser, point, t, particles=256, seed=seed)
        ensemble.ask(BlackBox(curved), queries, "control_variate")
        found = ensemble.map(log_odds, 1, "control_variate")
        columns = ensemble._pixel_columns(log_odds, 1)
        without = control_variate(columns.particles, columns.predicted, columns.values).gradient
        if seed == 0:
            many = denoiser.decode(Ensemble(denoiser, point, t, particles=8000, seed=99).particles.reshape(-1, 1, 3, 3))
            values = log_odds(BlackBox(curved)(many), 1)
            truth = (values - values.mean()) @ (many - many.mean(dim=0)).flatten(1) / (len(many) - 1)
        errors.append((found.gradient.flatten() - truth).square().sum())
        alone.append((without - truth).square().sum())
        ratios.append(errors[-1] / found.standard_error.square().sum())
    assert 0.5 < torch.stack(ratios).mean() < 2
    assert torch.stack(errors).mean() < less * torch.stack(alone).mean()


def test_the_correction_mends_both_linear_models(rng):
    """All particles are paid, so the estimate is their covariance. By hand: `Cov(x_lin, f) + a (Cov(x, y) - ...)`."""
    z = torch.randn(400, 3, generator=rng, dtype=torch.float64)
    columns, values = torch.cat([z.square(), z.exp()], dim=1), z[:, 0].square() - z[:, 1]
    lines, predicted = torch.cat([0 * z, 1 + z], dim=1), -0.5 * z[:, 1]
    answer = control_variate(lines, predicted, values[:300], paid=columns[:300])

    def covariance(one, other):
        return (one - one.mean(dim=0)).T @ (other - other.mean()) / (len(one) - 1)

    shrink = answer.parts.misfit / (answer.parts.misfit + answer.parts.residual)
    first = slice(300)
    missed = covariance(columns[first], values[first]) - covariance(lines[first], predicted[first])
    torch.testing.assert_close(answer.gradient, covariance(lines, predicted) + shrink * missed)
    assert shrink > 0.9


def test_a_linear_score_of_decoded_latents_gives_their_covariance_times_its_weights(prior, rng):
    """A decoder that repeats each latent 2x2 times is no isometry. All axes are asked along, so the map is exact."""
    network, weights = prior((1, 3, 3)), torch.randn(36, generator=rng)
    denoiser = Denoiser(
        network, SCHEDULER, autoencoder=linear_autoencoder("AutoencoderKL", halved=True, scaling_factor=2.0)
    )
    box = BlackBox(lambda images: images.flatten(1) @ weights[:, None], scores="value")
    explainer = FreeMCG(box, denoiser, particles=64, queries=33)
    result = explainer.explain(torch.full(SHAPE, 0.5), 0)
    latents = drawn(denoiser, 64)
    images = (decoded(latents / 2, halved=True) / 2 + 0.5).flatten(1)
    torch.testing.assert_close(result.values.flatten(), images.T.cov() @ weights, rtol=1e-3, atol=1e-5)
    span = torch.linalg.svd(images - images.mean(dim=0), full_matrices=False).Vh[:9]
    torch.testing.assert_close(result.projected_gradient.flatten(), span.T @ span @ weights, rtol=1e-3, atol=1e-3)


def drawn(denoiser, count, noise=0.2):
    t = denoiser.timestep(noise)
    point = denoiser.encode(torch.full((1, *SHAPE), 0.5))[0]
    given = particle_noise(0, "particles", 0, count, tuple(point.shape))
    return denoiser.denoise(denoiser.add_noise(point, t, given), t)


@pytest.mark.parametrize("scores", ["logits", "label"])
@pytest.mark.parametrize("queries", [64, 65, 20])
def test_only_the_query_points_and_one_more_are_decoded(queries, scores, prior, curved, rng):
    denoiser = Denoiser(prior(), SCHEDULER, autoencoder=linear_autoencoder("AutoencoderKL"))
    rows: list[int] = []
    denoiser.space.autoencoder.decoder.register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
    answer = curved if scores == "logits" else lambda images: curved(images).argmax(dim=1)
    box = BlackBox(answer, scores=scores, num_classes=3)
    result = FreeMCG(box, denoiser, queries=queries).explain(0.5 + 0.1 * torch.randn(SHAPE, generator=rng))
    assert result.queries == box.queries == queries
    assert sum(rows) == queries  # the image is not decoded, but one was to try the size before the first query


@pytest.mark.parametrize("dims", [(5, 3), (4, 4), (3, 7)])
def test_a_linear_map_is_its_own_pushforward(dims, rng):
    """In the values' space: the axes of `J C J^T`, and a score that is linear there, carried along."""
    inner, outer = dims
    cloud = torch.randn(40, inner, generator=rng, dtype=torch.float64) @ torch.diag(
        torch.linspace(2, 0.5, inner).double()
    )
    jacobian, offset = (torch.randn(*shape, generator=rng, dtype=torch.float64) for shape in ((outer, inner), (outer,)))
    axes = principal_axes(cloud)
    points = sigma_points(axes, 1 + inner)
    push = Pushforward.through(axes, points, points @ jacobian.T + offset)
    torch.testing.assert_close(push(cloud)[:], cloud @ jacobian.T + offset)
    covariance = jacobian @ cloud.T.cov() @ jacobian.T
    rebuilt = push.axes.directions.T @ torch.diag(push.axes.variances) @ push.axes.directions
    torch.testing.assert_close(rebuilt, covariance)
    rank = min(dims)
    torch.testing.assert_close(push.axes.directions @ push.axes.directions.T, torch.eye(rank, dtype=torch.float64))
    weights = torch.randn(outer, generator=rng, dtype=torch.float64)
    model = linear_model(axes, points, (points @ jacobian.T + offset) @ weights)
    carried = push.carry(model)
    torch.testing.assert_close(carried(push(cloud)[:]), (cloud @ jacobian.T + offset) @ weights)
    wanted = torch.linalg.pinv(jacobian.T) @ jacobian.T @ weights
    torch.testing.assert_close(carried.slope, wanted)


def test_without_an_axis_everything_stays_at_the_centre(rng):
    point = torch.randn(1, 4, generator=rng)
    axes = PrincipalAxes(point[0], point.new_zeros(0, 4), point.new_zeros(0))
    push = Pushforward.through(axes, point, torch.ones(1, 6))
    assert torch.equal(push(torch.randn(5, 4, generator=rng))[:], torch.ones(5, 6))
    assert torch.equal(push.carry(linear_model(axes, point, torch.ones(1))).slope, torch.zeros(6))
