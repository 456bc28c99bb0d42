"""The gradient along the axes asked about: exact for a linear score, and with an error that says what it misses."""

from __future__ import annotations

import math

import pytest
import torch

from freemcg.ensemble import PrincipalAxes, linear_model, principal_axes, projected_gradient, sigma_points
from freemcg.ensemble.control_variate import estimated_misfit


def normal(*shape, rng):
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def asked_along(axes, count):
    return PrincipalAxes(axes.mean, axes.directions[:count], axes.variances[:count])


def projected(axes, score, paid):
    """The estimate from the answers of `score` at the sigma points of `axes` and at the `paid` particles."""
    points = sigma_points(axes, 1 + len(axes.variances))
    return projected_gradient(axes, linear_model(axes, points, score(points)), paid, score(paid))


@pytest.fixture
def particles(rng):
    return 3 + normal(60, 7, rng=rng).exp() @ normal(7, 7, rng=rng)


@pytest.fixture
def curved(rng):
    slopes = normal(7, 2, rng=rng) / 4
    return lambda x: (torch.tanh(x @ slopes) + (x @ slopes).square() / 50) @ torch.tensor([0.7, -1.9]).double()


@pytest.mark.parametrize("along", [1, 3, 7])
def test_a_linear_score_is_projected_on_the_axes_asked_along(along, particles, rng):
    axes, slope = asked_along(principal_axes(particles), along), normal(7, rng=rng)
    answer = projected(axes, lambda x: x @ slope - 4, particles[:20])
    torch.testing.assert_close(answer.gradient, axes.directions.T @ (axes.directions @ slope))
    if along == 7:  # all axes, so the linear model misses nothing
        assert answer.standard_error.max() < 1e-10 * slope.norm()


def test_the_error_is_what_leaving_out_one_particle_at_a_time_gives(curved, particles):
    """A second route, which leaves out a paid particle and takes the covariances anew."""
    axes, paid, count = asked_along(principal_axes(particles), 4), particles[:11], 11
    points = sigma_points(axes, 5)
    missed = curved(paid) - linear_model(axes, points, curved(points))(paid)
    z = (paid - axes.mean) @ axes.directions.T / axes.variances.sqrt()

    def covariance(kept):
        return (z[kept] - z[kept].mean(dim=0)).T @ (missed[kept] - missed[kept].mean()) / (len(kept) - 1)

    everything = list(range(count))
    left_out = torch.stack([covariance([k for k in everything if k != i]) for i in everything])
    shifts = (count - 1) * (left_out.mean(dim=0) - left_out)
    in_pixels = shifts @ (axes.directions / axes.variances.sqrt()[:, None])
    noise, variance = (each.square().sum(dim=0) / (count * (count - 1)) for each in (shifts, in_pixels))
    misfit = estimated_misfit(covariance(everything), shifts)
    shrink = misfit / (misfit + noise.sum())
    steeper = covariance(everything) @ (axes.directions / axes.variances.sqrt()[:, None])
    wanted = (shrink * variance + (shrink * steeper).square()).sqrt()
    torch.testing.assert_close(projected(axes, curved, paid).standard_error, wanted)


@pytest.mark.parametrize(("axes_asked", "paid"), [(20, 11), (42, 21)])
@pytest.mark.parametrize("size", [0.1, 1.0])
def test_the_error_covers_what_a_curved_score_hides(axes_asked, paid, size, rng):
    """For Gaussian `x` the best linear fit is `E grad f` (Stein 1981). Here `f = w x + c sin(3 v x)`.

    So it is `w + 3 c exp(-9 v C v / 2) v`, and one step along each axis sees another slope.
    """
    spread = torch.linspace(1, 0.3, axes_asked).double()
    slope, bend = normal(2, axes_asked, rng=rng)
    bend = bend / axes_asked**0.5
    axes = PrincipalAxes(torch.zeros_like(spread), torch.eye(axes_asked).double(), spread.square())
    truth = slope + 3 * size * torch.exp(-4.5 * (spread.square() @ bend.square())) * bend
    stated, covered = [], []
    for _ in range(200):
        particles = normal(paid, axes_asked, rng=rng) * spread
        answer = projected(axes, lambda x: x @ slope + size * torch.sin(3 * x @ bend), particles)
        stated.append(answer.standard_error.square().sum())
        covered.append(((answer.gradient - truth).abs() <= 1.96 * answer.standard_error).double().mean())
    assert 1 <= torch.stack(stated).mean() / (answer.gradient - truth).square().sum() <= 4
    assert 0.85 <= torch.stack(covered).mean() <= 0.99


@pytest.mark.parametrize("factor", [-3.0, 1e-4])
def test_scores_scale_it_and_their_offset_does_not_matter(factor, curved, particles):
    axes, paid = asked_along(principal_axes(particles), 4), particles[:11]
    answer, scaled = projected(axes, curved, paid), projected(axes, lambda x: factor * curved(x) + 2, paid)
    torch.testing.assert_close(scaled.gradient, factor * answer.gradient)
    torch.testing.assert_close(scaled.standard_error, abs(factor) * answer.standard_error)


def test_it_is_in_units_of_the_score_over_those_of_a_pixel(curved, particles):
    one = projected(asked_along(principal_axes(particles), 4), curved, particles[:11])
    ten = projected(asked_along(principal_axes(10 * particles), 4), lambda x: curved(x / 10), 10 * particles[:11])
    torch.testing.assert_close(ten.gradient, one.gradient / 10)
    torch.testing.assert_close(ten.standard_error, one.standard_error / 10)


def test_a_constant_score_has_no_gradient_and_no_error(particles):
    answer = projected(asked_along(principal_axes(particles), 4), lambda x: x.new_full((len(x),), 0.5), particles[:11])
    assert (answer.gradient == 0).all()
    assert (answer.standard_error == 0).all()


@pytest.mark.parametrize("paid", [0, 2])
def test_fewer_than_three_particles_tell_no_error(paid, curved, particles):
    answer = projected(asked_along(principal_axes(particles), 4), curved, particles[:paid])
    assert answer.standard_error.tolist() == [math.inf] * 7
    assert answer.gradient.isfinite().all()
