from __future__ import annotations

import math
import re

import pytest
import torch

from freemcg.ensemble import (
    ErrorParts,
    PrincipalAxes,
    anomalies,
    control_variate,
    cross_covariance,
    linear_model,
    per_particle,
    principal_axes,
    regression,
    sigma_points,
)

SIZES = [(12, 7, 3), (5, 9, 1), (2, 4, 2), (40, 6, 4)]  # particles, pixels, scores
DIRECT = ["cross_covariance", "regression", "per_particle"]
ESTIMATES = [*DIRECT, "sigma_points", "control_variate"]


def skewed(count, size, rng):
    """Particles that are neither centred, nor Gaussian, nor independent."""
    rows = torch.randn(count, size, generator=rng, dtype=torch.float64)
    mixing = torch.randn(size, size, generator=rng, dtype=torch.float64)
    return 3 + rows.exp() @ mixing


def normal(*shape, rng):
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def estimate(name, particles, score, weights, axes=3):
    """Gradient and standard error by any estimator, which asks `score` at its own points."""
    if name in ("sigma_points", "control_variate"):
        found = principal_axes(particles)
        points = sigma_points(found, 1 + axes)
        model = linear_model(found, points, score(points) @ weights)
        if name == "sigma_points":
            return found.covariance_times(model.slope), torch.zeros_like(model.slope)
        asked = particles[: max(2, len(particles) // 2)]
        answer = control_variate(particles, model(particles), score(asked) @ weights)
    elif name == "per_particle":
        terms = per_particle(particles, score(particles), weights)
        return terms.sum(dim=0) / (len(terms) - 1), torch.zeros_like(weights)
    else:
        answer = {"cross_covariance": cross_covariance, "regression": regression}[name](
            particles, score(particles), weights
        )
    return answer.gradient, answer.standard_error


def slow_covariance(rows):
    mean = sum(rows) / len(rows)
    return sum(torch.outer(row - mean, row - mean) for row in rows) / (len(rows) - 1)


@pytest.fixture
def curved(rng):
    """A non-linear score with two outputs, and a direction in them."""
    slopes, weights = normal(7, 2, rng=rng) / 4, torch.tensor([0.7, -1.9], dtype=torch.float64)
    return (lambda x: torch.tanh(x @ slopes) + (x @ slopes).square() / 50), weights


# --- linear scores: exact for every ensemble ---


@pytest.mark.parametrize(("count", "size", "outputs"), SIZES)
def test_anomalies_give_the_sample_covariance(count, size, outputs, rng):
    particles = skewed(count, size, rng)
    deviations = anomalies(particles)
    torch.testing.assert_close(deviations.T @ deviations, slow_covariance(particles))
    torch.testing.assert_close(deviations.sum(dim=0), torch.zeros(size, dtype=torch.float64), atol=1e-10, rtol=0)


@pytest.mark.parametrize(("count", "size", "outputs"), SIZES)
@pytest.mark.parametrize("name", ["cross_covariance", "per_particle"])
def test_linear_score_gives_covariance_times_weights(name, count, size, outputs, rng):
    particles, matrix, weights = skewed(count, size, rng), normal(outputs, size, rng=rng), normal(outputs, rng=rng)
    gradient, _ = estimate(name, particles, lambda x: x @ matrix.T + 5, weights)
    torch.testing.assert_close(gradient, slow_covariance(particles) @ matrix.T @ weights)


@pytest.mark.parametrize(("count", "size", "outputs"), SIZES)
def test_regression_of_a_linear_score_projects_on_the_span(count, size, outputs, rng):
    particles, matrix, weights = skewed(count, size, rng), normal(outputs, size, rng=rng), normal(outputs, rng=rng)
    answer = regression(particles, particles @ matrix.T + 5, weights, ridge=1e-9)
    span, _ = torch.linalg.qr((particles[1:] - particles[0]).T)  # differences and anomalies span the same space
    torch.testing.assert_close(answer.gradient, span @ span.T @ matrix.T @ weights, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("count", "size", "outputs"), SIZES)
@pytest.mark.parametrize("ridge", [1e-3, 0.5, 20.0])
def test_regression_is_ridge_regression_in_the_primal(count, size, outputs, ridge, rng):
    particles, scores, weights = skewed(count, size, rng), normal(count, outputs, rng=rng), normal(outputs, rng=rng)
    covariance = slow_covariance(particles)
    along = (scores - scores.mean(dim=0)) @ weights
    moment = (particles - particles.mean(dim=0)).T @ along / (count - 1)
    damping = ridge * covariance.trace() / count * torch.eye(size, dtype=torch.float64)
    expected = torch.linalg.solve(covariance + damping, moment)
    torch.testing.assert_close(regression(particles, scores, weights, ridge=ridge).gradient, expected)


def test_regression_of_float32_is_solved_in_float64(rng):
    """With more particles than pixels, only a ridge of 1e-6 keeps the kernel regular. float32 cannot hold it."""
    particles = 0.5 + 0.02 * torch.randn(100, 16, generator=rng)
    scores = torch.tanh(particles.sum(dim=1) - 8)[:, None]
    answer = regression(particles, scores, torch.ones(1))
    exact = regression(particles.double(), scores.double(), torch.ones(1).double())
    torch.testing.assert_close(answer.gradient, exact.gradient.float(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(answer.standard_error, exact.standard_error.float(), rtol=1e-4, atol=1e-4)


# --- sigma points ---


def on_axes(axes, score, count, reach=1.0):
    """The gradient by `count` sigma points. The first of them is the mean."""
    points = sigma_points(axes, count, reach=reach)
    return axes.covariance_times(linear_model(axes, points, score(points)).slope)


@pytest.mark.parametrize(("asked", "got"), [(1, 0), (2, 1), (4, 3), (9, 4)])
@pytest.mark.parametrize("reach", [1.0, 2.5])
def test_sigma_points_lie_at_the_mean_and_on_alternate_sides_of_it(asked, got, reach, rng):
    axes = principal_axes(skewed(5, 7, rng))
    points = sigma_points(axes, asked, reach=reach)
    assert len(points) == 1 + got
    torch.testing.assert_close(points[0], axes.mean, rtol=0, atol=0)
    for i in range(got):
        side = 1 if i % 2 == 0 else -1
        wanted = axes.mean + side * reach * axes.variances[i].sqrt() * axes.directions[i]
        torch.testing.assert_close(points[1 + i], wanted)


def test_more_sigma_points_begin_with_the_fewer(rng):
    axes = principal_axes(skewed(12, 7, rng))
    torch.testing.assert_close(sigma_points(axes, 6)[:4], sigma_points(axes, 4), rtol=0, atol=0)


@pytest.mark.parametrize("reach", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("leading", [1, 3, 7])
def test_a_linear_score_is_exact_on_the_leading_axes(reach, leading, rng):
    particles, slope = skewed(12, 7, rng), normal(7, rng=rng)
    values, vectors = torch.linalg.eigh(slow_covariance(particles))
    plane = vectors[:, -leading:]
    expected = plane @ (values[-leading:] * (plane.T @ slope))
    gradient = on_axes(principal_axes(particles), lambda x: x @ slope - 4, 1 + leading, reach)
    torch.testing.assert_close(gradient, expected, rtol=1e-8, atol=1e-8 * expected.norm().item())


def test_curvature_along_an_axis_is_seen_as_slope_over_one_step(rng):
    """A step goes to one side. If the score is `b s^2 / 2`, a step of `s = c sqrt(lam)` sees the slope `b s / 2`."""
    axes, bend = principal_axes(skewed(12, 7, rng)), [3.0, -2.0, 0.5]
    along = lambda x: (x - axes.mean) @ axes.directions.T  # noqa: E731
    score = lambda x: sum(b * along(x)[:, i].square() / 2 for i, b in enumerate(bend))  # noqa: E731
    slope = linear_model(axes, sigma_points(axes, 4), score(sigma_points(axes, 4))).slope
    steps = [sign * axes.variances[i].sqrt() for i, sign in enumerate((1, -1, 1))]
    expected = sum(b * step / 2 * axes.directions[i] for i, (b, step) in enumerate(zip(bend, steps, strict=True)))
    torch.testing.assert_close(slope, expected)


def test_sigma_points_of_all_axes_equal_cross_covariance_of_all_particles(rng):
    particles, slope = skewed(30, 7, rng), normal(7, rng=rng)
    gradient = on_axes(principal_axes(particles), lambda x: x @ slope + 2, 8)
    wanted = cross_covariance(particles, (particles @ slope)[:, None], torch.ones(1).double()).gradient
    torch.testing.assert_close(gradient, wanted)


def test_covariance_times_is_the_covariance_times(rng):
    particles, vector = skewed(12, 7, rng), normal(7, rng=rng)
    torch.testing.assert_close(principal_axes(particles).covariance_times(vector), slow_covariance(particles) @ vector)


def test_linear_model_predicts_a_linear_score_of_any_point_in_the_plane(rng):
    particles, slope = skewed(5, 7, rng), normal(7, rng=rng)
    axes = principal_axes(particles)
    points = sigma_points(axes, 5)
    model = linear_model(axes, points, points @ slope + 3)
    elsewhere = particles.mean(dim=0) + 5 * normal(9, 5, rng=rng) @ anomalies(particles)
    torch.testing.assert_close(model(elsewhere), elsewhere @ slope + 3)
    torch.testing.assert_close(model(points), points @ slope + 3)
    off = normal(7, rng=rng)
    off -= axes.directions.T @ (axes.directions @ off)
    assert off.norm() > 0.1
    torch.testing.assert_close(model((axes.mean + off)[None]), (axes.mean @ slope + 3)[None])


def test_sigma_points_clipped_along_their_axis_stay_exact(rng):
    """The axes lie along the pixels. Clipping shortens the step, and the slope is divided by the shorter step."""
    mean, spread = torch.tensor([0.1, 0.5, 0.8]).double(), torch.tensor([0.2, 0.05, 0.3]).double()
    axes = PrincipalAxes(mean, torch.eye(3).double()[[2, 0, 1]], spread[[2, 0, 1]].square())
    slope = normal(3, rng=rng)
    points = sigma_points(axes, 4)
    clipped = points.clamp(0, 1)
    assert (clipped != points).any(dim=1).tolist() == [False, True, True, False]  # 0.8 + 0.3 and 0.1 - 0.2
    gradient = axes.covariance_times(linear_model(axes, clipped, clipped @ slope).slope)
    torch.testing.assert_close(gradient, spread.square() * slope)


def test_clipped_sigma_points_stay_exact_for_a_score_along_the_axis(rng):
    axes = principal_axes(0.5 + 0.6 * normal(20, 6, rng=rng))
    points = sigma_points(axes, 2)
    clipped = points.clamp(0, 1)
    assert (clipped[1] != points[1]).any()
    slope = 3 * axes.directions[0]
    torch.testing.assert_close(linear_model(axes, clipped, clipped @ slope).slope, slope)


def test_a_point_clipped_to_the_mean_tells_nothing():
    axes = PrincipalAxes(torch.tensor([1.0, 0.5]), torch.eye(2), torch.tensor([0.04, 0.01]))
    points = sigma_points(axes, 3).clamp(0, 1)
    torch.testing.assert_close(points, torch.tensor([[1.0, 0.5], [1.0, 0.5], [1.0, 0.4]]))
    model = linear_model(axes, points, torch.tensor([1.0, 9.0, 0.7]))
    torch.testing.assert_close(model.slope, torch.tensor([0.0, 3.0]))
    assert model.value == 1


# --- laws that hold for any score ---


@pytest.mark.parametrize("name", ESTIMATES)
def test_constant_score_is_exactly_zero(name, rng):
    particles, weights = skewed(12, 7, rng), normal(3, rng=rng)
    constant = torch.tensor([0.5, -2.0, 0.125], dtype=torch.float64)
    gradient, error = estimate(name, particles, lambda x: constant.expand(len(x), 3), weights)
    assert (gradient == 0).all()
    assert (error == 0).all()


@pytest.mark.parametrize("name", ESTIMATES)
def test_adding_a_constant_to_scores_changes_nothing(name, curved, rng):
    (score, weights), particles = curved, skewed(12, 7, rng)
    offset = torch.tensor([3.0, -40.0], dtype=torch.float64)
    torch.testing.assert_close(
        estimate(name, particles, lambda x: score(x) + offset, weights), estimate(name, particles, score, weights)
    )


@pytest.mark.parametrize("name", ESTIMATES)
@pytest.mark.parametrize("factor", [-3.0, 1e-4])
def test_scaling_scores_scales_the_answer(name, factor, curved, rng):
    (score, weights), particles = curved, skewed(12, 7, rng)
    gradient, error = estimate(name, particles, score, weights)
    scaled, scaled_error = estimate(name, particles, lambda x: factor * score(x), weights)
    torch.testing.assert_close(scaled, factor * gradient)
    torch.testing.assert_close(scaled_error, abs(factor) * error)


@pytest.mark.parametrize("name", ESTIMATES)
def test_the_order_of_particles_does_not_matter(name, curved, rng):
    """The control variate keeps two groups apart: the particles asked about, and the others."""
    (score, weights), particles = curved, skewed(12, 7, rng)
    order = torch.randperm(12, generator=rng)
    if name == "control_variate":
        order = torch.cat([torch.randperm(6, generator=rng), 6 + torch.randperm(6, generator=rng)])
    torch.testing.assert_close(
        estimate(name, particles[order], score, weights),
        estimate(name, particles, score, weights),
        rtol=1e-7,
        atol=1e-9,
    )


@pytest.mark.parametrize("name", ESTIMATES)
def test_rotating_image_space_rotates_the_answer(name, curved, rng):
    """The pixels decide which side of an axis is asked about. So for estimates along axes the score is linear."""
    (score, weights), particles = curved, skewed(12, 7, rng)
    if name in ("sigma_points", "control_variate"):
        slopes = normal(7, 2, rng=rng)
        score = lambda x: x @ slopes  # noqa: E731
    turn, _ = torch.linalg.qr(normal(7, 7, rng=rng))
    gradient, _ = estimate(name, particles, score, weights)
    turned, _ = estimate(name, particles @ turn.T, lambda x: score(x @ turn), weights)
    torch.testing.assert_close(turned, turn @ gradient, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", DIRECT)
def test_scaling_particles_scales_by_the_unit_of_the_answer(name, rng):
    particles, scores, weights = skewed(12, 7, rng), normal(12, 2, rng=rng), normal(2, rng=rng)
    gradient, _ = estimate(name, particles, lambda _: scores, weights)
    scaled, _ = estimate(name, 10 * particles, lambda _: scores, weights)
    torch.testing.assert_close(scaled, gradient * (0.1 if name == "regression" else 10))


@pytest.mark.parametrize("name", ESTIMATES)
def test_nothing_points_off_the_plane_of_the_particles(name, curved, rng):
    (score, weights), mean = curved, normal(7, rng=rng)
    plane, _ = torch.linalg.qr(normal(7, 2, rng=rng))
    particles = mean + normal(12, 2, rng=rng) @ plane.T
    gradient, _ = estimate(name, particles, score, weights)
    off = gradient - plane @ (plane.T @ gradient)
    assert gradient.norm() > 0.01
    assert off.norm() < 1e-10 * gradient.norm()


# --- per particle ---


@pytest.mark.parametrize("each", [False, True])
def test_per_particle_is_each_ones_own_term(each, rng):
    particles, scores = skewed(9, 5, rng), normal(9, 3, rng=rng)
    weights = normal(9, 3, rng=rng) if each else normal(3, rng=rng)
    mean, level = sum(particles) / 9, sum(scores) / 9
    expected = [
        (x - mean) * torch.dot(y - level, weights[k] if each else weights)
        for k, (x, y) in enumerate(zip(particles, scores, strict=True))
    ]
    torch.testing.assert_close(per_particle(particles, scores, weights), torch.stack(expected))


# --- principal axes ---


@pytest.mark.parametrize(("count", "size", "outputs"), SIZES)
def test_principal_axes_reproduce_the_covariance(count, size, outputs, rng):
    particles = skewed(count, size, rng)
    axes = principal_axes(particles)
    rank = min(count - 1, size)
    torch.testing.assert_close(axes.directions @ axes.directions.T, torch.eye(rank, dtype=torch.float64))
    covariance = axes.directions.T @ axes.variances.diag() @ axes.directions
    torch.testing.assert_close(covariance, slow_covariance(particles))
    torch.testing.assert_close(axes.mean, sum(particles) / count)
    assert (axes.variances.diff() <= 0).all()
    assert all(row[row.abs().argmax()] > 0 for row in axes.directions)


def test_principal_axes_end_where_the_variance_does(rng):
    plane, _ = torch.linalg.qr(normal(8, 3, rng=rng))
    particles = normal(20, 3, rng=rng) * torch.tensor([1.0, 0.1, 1e-3]).double() @ plane.T
    assert len(principal_axes(particles).variances) == 3
    assert len(principal_axes(particles, tolerance=1e-4).variances) == 2
    assert len(principal_axes(particles, tolerance=1e-2).variances) in (1, 2)


def test_principal_axes_of_float32_are_found_in_float64(rng):
    """The eigenvalues of the Gram matrix are squares of the spreads. In float32 the small axis would drown."""
    spread = torch.tensor([1.0, 1e-4])
    particles = torch.randn(50, 2, generator=rng) * spread
    axes = principal_axes(particles)
    assert axes.mean.dtype == axes.directions.dtype == axes.variances.dtype == torch.float32
    exact = torch.linalg.eigvalsh(slow_covariance(particles.double())).flip(0).float()
    torch.testing.assert_close(axes.variances, exact, rtol=1e-5, atol=0)


def test_identical_particles_have_no_axis():
    particles = torch.tensor([0.1, 0.7, 0.3]).repeat(6, 1)
    axes = principal_axes(particles)
    assert axes.directions.shape == (0, 3)
    points = sigma_points(axes, 4)
    torch.testing.assert_close(points, particles[:1])
    model = linear_model(axes, points, torch.ones(1))
    assert axes.covariance_times(model.slope).tolist() == [0, 0, 0]
    assert model(torch.rand(2, 3)).tolist() == [1, 1]


@pytest.mark.parametrize("name", ["cross_covariance", "regression"])
def test_identical_particles_have_no_gradient(name):
    particles = torch.tensor([0.5, 0.25]).repeat(4, 1)
    gradient, error = estimate(name, particles, lambda x: x[:, :1], torch.ones(1))
    assert gradient.tolist() == [0, 0]
    assert error.tolist() == [0, 0]


# --- standard errors ---


def jackknife(replicates):
    mean = sum(replicates) / len(replicates)
    return ((len(replicates) - 1) / len(replicates) * sum((each - mean).square() for each in replicates)).sqrt()


@pytest.mark.parametrize(("count", "size", "outputs"), [(12, 7, 3), (5, 9, 1), (3, 4, 2)])
def test_cross_covariance_error_is_the_jackknife(count, size, outputs, rng):
    particles, scores, weights = skewed(count, size, rng), normal(count, outputs, rng=rng), normal(outputs, rng=rng)
    replicates = []
    for left_out in range(count):
        kept = [k for k in range(count) if k != left_out]
        joint = slow_covariance(torch.cat([particles[kept], (scores[kept] @ weights)[:, None]], dim=1))
        replicates.append(joint[:-1, -1])
    torch.testing.assert_close(cross_covariance(particles, scores, weights).standard_error, jackknife(replicates))


def test_two_particles_cannot_tell_an_error(rng):
    answer = cross_covariance(skewed(2, 4, rng), normal(2, 1, rng=rng), torch.ones(1).double())
    assert answer.standard_error.tolist() == [math.inf] * 4


@pytest.mark.parametrize(("count", "size", "outputs"), [(12, 7, 3), (5, 9, 1), (3, 4, 2)])
@pytest.mark.parametrize("ridge", [1e-3, 0.5])
def test_regression_error_is_the_jackknife(count, size, outputs, ridge, rng):
    """A second route leaves out one particle at a time in the primal, D x D.

    Each fit has its own mean, and the penalty of the whole ensemble.
    """
    particles, scores, weights = skewed(count, size, rng), normal(count, outputs, rng=rng), normal(outputs, rng=rng)
    along = scores @ weights
    penalty = ridge * slow_covariance(particles).trace() / count * (count - 1)
    replicates = []
    for left_out in range(count):
        kept = [k for k in range(count) if k != left_out]
        x, y = particles[kept] - particles[kept].mean(dim=0), along[kept] - along[kept].mean()
        replicates.append(torch.linalg.solve(x.T @ x + penalty * torch.eye(size).double(), x.T @ y))
    answer = regression(particles, scores, weights, ridge=ridge)
    torch.testing.assert_close(answer.standard_error, jackknife(replicates))


def test_cross_covariance_interval_covers_the_truth(rng):
    """Gaussian particles have a linear score. 95 % of the intervals hold the population's `C a`."""
    mixing, slope = normal(4, 4, rng=rng), normal(4, rng=rng)
    truth = mixing.T @ mixing @ slope
    covered = []
    for _ in range(600):
        particles = normal(100, 4, rng=rng) @ mixing
        answer = cross_covariance(particles, (particles @ slope)[:, None], torch.ones(1).double())
        covered.append((answer.gradient - truth).abs() <= 1.96 * answer.standard_error)
    assert 0.92 < torch.stack(covered).double().mean() < 0.97


# --- control variate ---


def waves(phase=0.3):
    """Gaussian particles `(draw)`, a non-linear score `sin(a x + phase)`, and the population's `Cov(x, score)`.

    Stein's lemma: `Cov(x, y) = C E[grad y]`, and `E[cos(a x + phase)] = cos(phase) exp(-a C a / 2)`, with `a C a = 1`.
    """

    def make(size, rng):
        mixing = normal(size, size, rng=rng) / size**0.5
        covariance = mixing.T @ mixing
        unit = lambda v: v / (v @ covariance @ v).sqrt()  # noqa: E731
        slope, other = unit(normal(size, rng=rng)), unit(normal(size, rng=rng))
        mean_slope = math.cos(phase) * math.exp(-0.5)
        models = {"wrong": other, "half": mean_slope / 2 * slope + other / 4, "best": mean_slope * slope}
        draw = lambda count: normal(count, size, rng=rng) @ mixing  # noqa: E731
        return draw, lambda x: torch.sin(x @ slope + phase), mean_slope * covariance @ slope, models

    return make


def coverage(answers, truth):
    return (
        torch.stack([(each.gradient - truth).abs() <= 1.96 * each.standard_error for each in answers]).double().mean()
    )


def variance_of_mean(terms):
    """The variance of the mean of independent rows, entry by entry."""
    count, mean = len(terms), sum(terms) / len(terms)
    return sum((each - mean).square() for each in terms) / (count * (count - 1))


def terms_by_loop(particles, values):
    mean, level = sum(particles) / len(particles), sum(values) / len(values)
    return [(y - level) * (x - mean) for x, y in zip(particles, values, strict=True)]


@pytest.mark.parametrize("asked", [0, 1, 3, 11, 30])
def test_control_variate_of_a_linear_score_with_all_axes_is_cross_covariance_of_all_particles(asked, rng):
    particles, slope = skewed(30, 7, rng), normal(7, rng=rng)
    axes = principal_axes(particles)
    points = sigma_points(axes, 8)
    model = linear_model(axes, points, points @ slope + 2)
    answer = control_variate(particles, model(particles), particles[:asked] @ slope + 2)
    wanted = cross_covariance(particles, (particles @ slope)[:, None], torch.ones(1).double())
    torch.testing.assert_close(answer.gradient, wanted.gradient)
    if asked < 2:
        assert answer.standard_error.isinf().all()
        assert answer.parts is None
    else:
        # only the sampling of the particles is left; the jackknife scales its terms by K / (K - 2)
        torch.testing.assert_close(answer.standard_error, wanted.standard_error * 28 / 30)


def test_an_unshrunk_correction_makes_any_linear_model_unbiased(rng):
    """For the score `b x + x B x` of Gaussian particles around `m`, `Cov(x, y) = C (b + 2 B m)`."""
    mixing, slope, center, bend = normal(4, 4, rng=rng), normal(4, rng=rng), normal(4, rng=rng), normal(4, 4, rng=rng)
    bend = (bend + bend.T) / 6
    truth, wrong, found = mixing.T @ mixing @ (slope + 2 * bend @ center), normal(4, rng=rng), []
    for _ in range(1500):
        particles = center + normal(40, 4, rng=rng) @ mixing
        values = particles @ slope + ((particles @ bend) * particles).sum(dim=1)
        answer = control_variate(particles, particles @ wrong, values[:12])
        linear = torch.cov(particles.T) @ wrong
        shrink = answer.parts.misfit / (answer.parts.misfit + answer.parts.residual)
        assert 0 < shrink < 1
        found.append(linear + (answer.gradient - linear) / shrink)
    found = torch.stack(found)
    assert (((found.mean(dim=0) - truth) / (found.std(dim=0) / 1500**0.5)).abs() < 4).all()
    assert (found.std(dim=0) / 1500**0.5 / truth.norm() < 0.05).all()  # otherwise the line above says little


def test_a_strong_correction_is_hardly_shrunk_and_the_estimate_unbiased(rng):
    mixing, slope, center, bend = normal(2, 2, rng=rng), normal(2, rng=rng), normal(2, rng=rng), normal(2, 2, rng=rng)
    bend = (bend + bend.T) / 20
    truth, found = mixing.T @ mixing @ (slope + 2 * bend @ center), []
    for _ in range(200):
        particles = center + normal(600, 2, rng=rng) @ mixing
        values = particles @ slope + ((particles @ bend) * particles).sum(dim=1)
        answer = control_variate(particles, torch.zeros(600).double(), values[:500])
        assert answer.parts.misfit > 30 * answer.parts.residual
        found.append(answer.gradient)
    assert (torch.stack(found).mean(dim=0) - truth).norm() < 0.02 * truth.norm()


@pytest.mark.parametrize(("everyone", "asked"), [(20, 5), (20, 20), (7, 3)])
def test_control_variate_and_its_error_by_the_influence_of_each_particle(everyone, asked, rng):
    particles, guess, values = skewed(everyone, 4, rng), normal(everyone, rng=rng), normal(asked, rng=rng)
    linear, paid = terms_by_loop(particles, guess), terms_by_loop(particles[:asked], values - guess[:asked])
    answer = control_variate(particles, guess, values)
    shrink = answer.parts.misfit / (answer.parts.misfit + answer.parts.residual)
    torch.testing.assert_close(answer.gradient, sum(linear) / (everyone - 1) + shrink * sum(paid) / (asked - 1))

    level = sum(paid) / asked
    common = sum(u * (w - level) for u, w in zip(linear, paid, strict=False)) / (asked - 1)  # Cov(u, w) of a particle
    factor = asked / (asked - 2)  # the delete-one jackknife over the plain spread of the terms
    common, sampling, residual = factor * common, variance_of_mean(linear), factor**2 * variance_of_mean(paid)
    both = sampling + 2 * shrink * common / everyone + shrink**2 * residual
    wanted = both + shrink * (1 - shrink) * residual
    torch.testing.assert_close(answer.standard_error, wanted.clamp(min=0).sqrt())
    torch.testing.assert_close(
        torch.tensor([answer.parts.sampling, answer.parts.residual]).double(),
        torch.stack([sampling.sum(), residual.sum()]),
    )
    assert answer.parts.asked == asked


@pytest.mark.parametrize("signal", [0.0, 0.4, 3.0])
def test_the_shrink_factor_by_hand(signal, rng):
    """Its prior variance is the mean of a normal distribution cut off at 0. Here it is a sum over a fine grid."""
    particles = skewed(9, 4, rng)
    values = signal * particles[:, 0] + 10 * normal(9, rng=rng)
    terms = torch.stack(terms_by_loop(particles, values))
    noise = (9 / 7) ** 2 * variance_of_mean(list(terms)).sum()
    per_direction = (9 / 7) ** 2 * torch.linalg.eigvalsh(torch.cov(terms.T) / 9)
    torch.testing.assert_close(per_direction.sum(), noise)
    center, spread = (terms.sum(dim=0) / 8).square().sum() - noise, (2 * per_direction.square().sum()).sqrt()
    grid = torch.linspace(0, (center + 12 * spread).item(), 400_001).double()
    weight = torch.exp(-((grid - center) / spread).square() / 2)
    misfit = (grid * weight).sum() / (weight.sum() - weight[0] / 2)  # trapezoids
    answer = control_variate(particles, torch.zeros(9).double(), values)
    assert answer.parts.misfit == pytest.approx(misfit.item(), rel=1e-6)
    shrink = misfit / (misfit + noise)
    torch.testing.assert_close(answer.gradient, shrink * terms.sum(dim=0) / 8, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("model", ["wrong", "half", "best"])
def test_control_variate_interval_covers_the_truth_whatever_the_model(model, rng):
    draw, score, truth, models = waves()(30, rng)
    answers = []
    for _ in range(200):
        particles = draw(256)
        answers.append(control_variate(particles, particles @ models[model], score(particles[:100])))
    assert 0.92 < coverage(answers, truth) < 0.97


def test_control_variate_beats_the_paid_particles_alone_where_the_model_is_good(rng):
    draw, score, truth, models = waves()(30, rng)
    squares = {"control_variate": 0.0, "cross_covariance": 0.0}
    for _ in range(60):
        particles = draw(512)
        values = score(particles[:30])
        answer = control_variate(particles, particles @ models["best"], values)
        plain = cross_covariance(particles[:30], values[:, None], torch.ones(1).double())
        squares["control_variate"] += (answer.gradient - truth).square().sum().item()
        squares["cross_covariance"] += (plain.gradient - truth).square().sum().item()
    assert squares["control_variate"] < squares["cross_covariance"] / 3


@pytest.mark.parametrize("name", ["control_variate", "cross_covariance"])
def test_answers_that_were_shuffled_give_a_map_inside_its_bars(name, rng):
    draw, score, _, _ = waves()(12, rng)
    particles, inside, sizes = draw(200), [], []
    values = score(particles[:60])
    for _ in range(300):
        shuffled = values[torch.randperm(60, generator=rng)]
        if name == "control_variate":
            answer = control_variate(particles, torch.zeros(200).double(), shuffled)
        else:
            answer = cross_covariance(particles[:60], shuffled[:, None], torch.ones(1).double())
        inside.append(answer.gradient.abs() <= 1.96 * answer.standard_error)
        sizes.append((answer.gradient.norm() / answer.standard_error.norm()).square())
    assert torch.stack(inside).double().mean() > 0.93
    if name == "cross_covariance":  # the bars are not too wide either: the map's square is theirs
        assert torch.stack(sizes).mean().item() == pytest.approx(1, rel=0.1)
    else:  # the map is shrunk by about a half, and the bars by the root of that
        assert 0.3 < torch.stack(sizes).mean().item() < 0.9


@pytest.mark.parametrize("name", ["control_variate", "cross_covariance"])
@pytest.mark.parametrize("curved", [False, True])
def test_noise_in_the_answers_widens_the_bars_as_much_as_it_spreads_the_map(name, curved, rng):
    """Noise `e` of variance `v` adds `sum (x - xb) e / (K - 1)` to the map. Its variance is `v C_xx / (K - 1)`."""
    draw, score, _, _ = waves()(5, rng)
    particles, noise = draw(80), 0.7
    values = score(particles) if curved else torch.full((80,), 2.5).double()

    def squares(answers):
        if name == "control_variate":
            return control_variate(particles, torch.zeros(80).double(), answers).parts.residual
        return cross_covariance(particles, answers[:, None], torch.ones(1).double()).parts.residual

    wider = sum(squares(values + noise * normal(80, rng=rng)) for _ in range(300)) / 300 - squares(values)
    added = noise**2 * slow_covariance(particles).trace().item() / 79
    assert wider == pytest.approx(added, rel=0.08)  # the plug-in variance of 80 terms is too low by 2/80


@pytest.mark.parametrize("asked", [0, 1])
def test_too_few_paid_particles_cannot_tell_an_error(asked, rng):
    particles, guess = skewed(9, 4, rng), normal(9, rng=rng)
    answer = control_variate(particles, guess, normal(asked, rng=rng))
    assert answer.standard_error.tolist() == [math.inf] * 4
    torch.testing.assert_close(answer.gradient, sum(terms_by_loop(particles, guess)) / 8)


def test_two_paid_particles_cannot_tell_an_error_either(rng):
    """Their two terms are the same for any answers, `(y_1 - y_2) (x_1 - x_2) / 4`."""
    answer = control_variate(skewed(9, 4, rng), normal(9, rng=rng), normal(2, rng=rng))
    assert answer.standard_error.tolist() == [math.inf] * 4


# --- what more queries would make of the error ---


@pytest.mark.parametrize("name", ["control_variate", "cross_covariance"])
def test_error_parts_add_up_to_the_error_of_the_map(name, rng):
    particles, values = skewed(30, 7, rng), normal(30, rng=rng)
    if name == "cross_covariance":
        answer, asked = cross_covariance(particles, values[:, None], torch.ones(1).double()), 30
        assert (answer.parts.sampling, answer.parts.misfit) == (0, math.inf)
        wanted = answer.standard_error.square().sum().item()
    else:
        answer, asked = control_variate(particles, normal(30, rng=rng), values[:12]), 12
        parts = answer.parts
        wanted = parts.sampling + parts.residual * parts.misfit / (parts.misfit + parts.residual)
    assert answer.parts.asked == asked
    assert answer.parts.error(asked) == pytest.approx(wanted, rel=1e-12)


PARTS = [
    ErrorParts(0.0, 2.0, math.inf, 20),
    ErrorParts(0.3, 2.0, math.inf, 20),
    ErrorParts(0.3, 2.0, 5.0, 20),
    ErrorParts(0.3, 2.0, 0.1, 20),
]


def test_the_error_falls_as_one_over_the_paid_particles_down_to_that_of_the_unpaid():
    plain, with_sampling, corrected, _ = PARTS
    assert [plain.error(asked) for asked in (10, 20, 40, 80)] == [4, 2, 1, 0.5]
    assert [with_sampling.error(asked) for asked in (20, 40)] == [2.3, 1.3]
    assert corrected.error(20) == pytest.approx(0.3 + 10 / 7)
    assert corrected.error(1e12) == pytest.approx(0.3)
    assert plain.error(0) == math.inf
    assert corrected.error(0) == 5.3  # without a correction it is all that the linear model misses


@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("asked", [1, 20, 33.5, 4000])
def test_asked_for_undoes_error(parts, asked):
    assert parts.asked_for(parts.error(asked)) == pytest.approx(asked, rel=1e-6)


def test_asked_for_knows_what_is_not_needed_and_what_is_out_of_reach():
    *_, corrected, _ = PARTS
    assert corrected.asked_for(5.3) == corrected.asked_for(9) == 0
    assert corrected.asked_for(0.3) == corrected.asked_for(0.1) == math.inf
    assert ErrorParts(0.0, 0.0, 0.0, 20).asked_for(0.0) == 0
    assert ErrorParts(0.0, 0.0, 0.0, 20).error(20) == 0


def test_the_forecast_for_four_times_the_queries_comes_true(rng):
    draw, score, _, models = waves()(30, rng)
    forecasts, found = [], []
    for _ in range(40):
        particles = draw(512)
        guess, values = particles @ models["half"], score(particles)
        forecasts.append(control_variate(particles, guess, values[:60]).parts.error(240))
        found.append(control_variate(particles, guess, values[:240]).parts.error(240))
    assert sum(forecasts) / sum(found) == pytest.approx(1, rel=0.15)


@pytest.mark.parametrize("count", [40, 120])
def test_split_halves_agree_with_the_error_bars(count, rng):
    """The correlation of two halves, stepped up to the whole (Spearman, Brown 1910), is `1 - |error|^2 / |map|^2`."""
    draw, score, _, _ = waves()(12, rng)
    one, predicted, measured = torch.ones(1).double(), [], []
    for _ in range(20):
        particles = draw(count)
        values = score(particles)[:, None]
        whole = cross_covariance(particles, values, one)
        predicted.append(1 - (whole.standard_error.norm() / whole.gradient.norm()).square().item())
        same, first, second = 0.0, 0.0, 0.0
        for _ in range(100):
            order = torch.randperm(count, generator=rng)
            left, right = order[: count // 2], order[count // 2 :]
            a = cross_covariance(particles[left], values[left], one).gradient
            b = cross_covariance(particles[right], values[right], one).gradient
            same, first, second = same + a @ b, first + a @ a, second + b @ b
        half = same / (first * second).sqrt()
        measured.append((2 * half / (1 + half)).item())
    assert 0.3 < sum(measured) / 20 < 0.95
    assert sum(predicted) / 20 == pytest.approx(sum(measured) / 20, abs=0.03)


# --- bad input ---


@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize(
    "function",
    [
        anomalies,
        principal_axes,
        lambda particles: cross_covariance(particles, particles[:, :1], torch.ones(1)),
        lambda particles: regression(particles, particles[:, :1], torch.ones(1)),
    ],
)
def test_one_particle_is_refused(function, count):
    with pytest.raises(ValueError, match=f"^an ensemble needs at least 2 particles, got {count}$"):
        function(torch.zeros(count, 3))


@pytest.mark.parametrize("ridge", [0, -0.5])
def test_ridge_must_be_positive(ridge):
    with pytest.raises(ValueError, match=re.escape(f"ridge must be > 0, got {ridge}") + "$"):
        regression(torch.zeros(3, 2), torch.zeros(3, 1), torch.ones(1), ridge=ridge)
