from __future__ import annotations

import math
import re

import pytest
import torch

from freemcg.ensemble import (
    PrincipalAxes,
    anomalies,
    cross_covariance,
    per_particle,
    principal_axes,
    regression,
    sigma_point_gradient,
    sigma_points,
)

SIZES = [(12, 7, 3), (5, 9, 1), (2, 4, 2), (40, 6, 4)]  # particles, pixels, scores
DIRECT = ["cross_covariance", "regression", "per_particle"]
ESTIMATES = [*DIRECT, "sigma_points"]


def skewed(count, size, rng):
    """Particles that are neither centred, nor Gaussian, nor independent."""
    rows = torch.randn(count, size, generator=rng, dtype=torch.float64)
    mixing = torch.randn(size, size, generator=rng, dtype=torch.float64)
    return 3 + rows.exp() @ mixing


def normal(*shape, rng):
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def estimate(name, particles, score, weights, pairs=3):
    """Gradient and standard error by any estimator, asking `score` where that estimator asks."""
    if name == "sigma_points":
        axes = principal_axes(particles)
        points = sigma_points(axes, pairs)
        answer = sigma_point_gradient(axes, points, score(points), weights)
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
    """A score that is not linear, with two outputs, and a direction in them."""
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
    span, _ = torch.linalg.qr((particles[1:] - particles[0]).T)  # differences span what anomalies span
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
    """More particles than pixels: the kernel is singular but for a ridge of 1e-6, which float32 cannot carry."""
    particles = 0.5 + 0.02 * torch.randn(100, 16, generator=rng)
    scores = torch.tanh(particles.sum(dim=1) - 8)[:, None]
    answer = regression(particles, scores, torch.ones(1))
    exact = regression(particles.double(), scores.double(), torch.ones(1).double())
    torch.testing.assert_close(answer.gradient, exact.gradient.float(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(answer.standard_error, exact.standard_error.float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("reach", [0.5, 1.5, 4.0])
@pytest.mark.parametrize("pairs", [1, 3, 7])
@pytest.mark.parametrize("curvature", [0.0, 0.3])
def test_sigma_points_are_exact_on_the_leading_axes(reach, pairs, curvature, rng):
    particles, slope, bend = skewed(12, 7, rng), normal(7, rng=rng), normal(7, 7, rng=rng) * curvature
    values, vectors = torch.linalg.eigh(slow_covariance(particles))
    leading = vectors[:, -pairs:]
    mean = particles.mean(dim=0)
    gradient = slope + (bend + bend.T) @ mean  # of slope x + x bend x, at the mean
    expected = leading @ (values[-pairs:] * (leading.T @ gradient))

    axes = principal_axes(particles)
    points = sigma_points(axes, pairs, reach=reach)
    scores = points @ slope + ((points @ bend) * points).sum(dim=1) - 4
    # two outputs, of which the objective takes 2 a - b
    answer = sigma_point_gradient(
        axes, points, torch.stack([scores, scores], dim=1), torch.tensor([2.0, -1.0], dtype=torch.float64)
    )
    torch.testing.assert_close(answer.gradient, expected, rtol=1e-8, atol=1e-8 * expected.norm().item())


def test_sigma_points_of_all_axes_equal_cross_covariance(rng):
    particles, matrix, weights = skewed(30, 7, rng), normal(2, 7, rng=rng), normal(2, rng=rng)
    every, error = estimate("sigma_points", particles, lambda x: x @ matrix.T, weights, pairs=7)
    torch.testing.assert_close(every, cross_covariance(particles, particles @ matrix.T, weights).gradient)
    assert error.max() == 0


def test_sigma_points_clipped_along_their_axis_stay_exact(rng):
    """Axes along the pixels: clipping shortens one side of a pair, and the slope is over what is left."""
    mean, spread = torch.tensor([0.1, 0.5, 0.8]).double(), torch.tensor([0.2, 0.05, 0.3]).double()
    axes = PrincipalAxes(mean, torch.eye(3).double()[[2, 0, 1]], spread[[2, 0, 1]].square())
    slope = normal(3, rng=rng)
    points = sigma_points(axes, 3)
    clipped = points.clamp(0, 1)
    assert (clipped != points).any(dim=1).sum() == 2
    answer = sigma_point_gradient(axes, clipped, (clipped @ slope)[:, None], torch.ones(1).double())
    torch.testing.assert_close(answer.gradient, spread.square() * slope)


def test_clipped_sigma_points_stay_exact_for_a_score_along_the_axis(rng):
    axes = principal_axes(0.5 + 0.4 * normal(20, 6, rng=rng))
    points = sigma_points(axes, 1)
    clipped = points.clamp(0, 1)
    assert (clipped != points).any()
    slope = 3 * axes.directions[0]
    answer = sigma_point_gradient(axes, clipped, (clipped @ slope)[:, None], torch.ones(1).double())
    torch.testing.assert_close(answer.gradient, axes.variances[0] * slope)


def test_a_pair_clipped_to_one_point_tells_nothing():
    axes = PrincipalAxes(torch.tensor([0.0, 0.5]), torch.eye(2), torch.tensor([0.04, 0.01]))
    points = torch.tensor([[0.0, 0.5], [0.0, 0.65], [0.0, 0.5], [0.0, 0.35]])
    answer = sigma_point_gradient(axes, points, torch.tensor([[9.0], [1.3], [2.0], [0.7]]), torch.ones(1))
    torch.testing.assert_close(answer.gradient, torch.tensor([0.0, 0.01 * 0.6 / 0.3]))


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
    (score, weights), particles = curved, skewed(12, 7, rng)
    shuffled = particles[torch.randperm(12, generator=rng)]
    torch.testing.assert_close(
        estimate(name, shuffled, score, weights), estimate(name, particles, score, weights), rtol=1e-7, atol=1e-9
    )


@pytest.mark.parametrize("name", ESTIMATES)
def test_rotating_image_space_rotates_the_answer(name, curved, rng):
    (score, weights), particles = curved, skewed(12, 7, rng)
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
    """Eigenvalues of the Gram matrix span the square of the spread: in float32 the small axis would drown."""
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
    assert points.shape == (0, 3)
    answer = sigma_point_gradient(axes, points, torch.zeros(0, 1), torch.ones(1))
    assert answer.gradient.tolist() == [0, 0, 0]
    assert answer.standard_error.tolist() == [math.inf] * 3


@pytest.mark.parametrize("name", ["cross_covariance", "regression"])
def test_identical_particles_have_no_gradient(name):
    particles = torch.tensor([0.5, 0.25]).repeat(4, 1)
    gradient, error = estimate(name, particles, lambda x: x[:, :1], torch.ones(1))
    assert gradient.tolist() == [0, 0]
    assert error.tolist() == [0, 0]


@pytest.mark.parametrize(("asked", "got"), [(1, 1), (3, 3), (9, 4)])
def test_sigma_points_lie_where_the_formula_puts_them(asked, got, rng):
    axes = principal_axes(skewed(5, 7, rng))
    points = sigma_points(axes, asked, reach=2.5)
    assert len(points) == 2 * got
    for i in range(got):
        step = 2.5 * axes.variances[i].sqrt() * axes.directions[i]
        torch.testing.assert_close(points[i], axes.mean + step)
        torch.testing.assert_close(points[got + i], axes.mean - step)


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
    """Left out in the primal, D x D, each fit with its own mean and the whole ensemble's penalty."""
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


def test_sigma_point_error_is_the_tail_with_slopes_of_the_same_size(curved, rng):
    (score, weights), particles, pairs = curved, skewed(12, 7, rng), 3
    axes = principal_axes(particles)
    points = sigma_points(axes, pairs)
    scores = score(points)
    slopes = [
        torch.dot(scores[i] - scores[pairs + i], weights) / (2 * 1.5 * axes.variances[i].sqrt()) for i in range(pairs)
    ]
    size = sum(slope**2 for slope in slopes) / pairs
    tail = sum((axes.variances[i] * axes.directions[i]).square() * size for i in range(pairs, 7))
    answer = sigma_point_gradient(axes, points, scores, weights)
    torch.testing.assert_close(answer.standard_error, tail.sqrt())


def test_cross_covariance_interval_covers_the_truth(rng):
    """Random Gaussian particles, a linear score: 95 % of the intervals hold the population's `C a`."""
    mixing, slope = normal(4, 4, rng=rng), normal(4, rng=rng)
    truth = mixing.T @ mixing @ slope
    covered = []
    for _ in range(600):
        particles = normal(100, 4, rng=rng) @ mixing
        answer = cross_covariance(particles, (particles @ slope)[:, None], torch.ones(1).double())
        covered.append((answer.gradient - truth).abs() <= 1.96 * answer.standard_error)
    assert 0.92 < torch.stack(covered).double().mean() < 0.97


def test_sigma_point_interval_covers_the_truth_for_slopes_of_one_size(rng):
    size, pairs = 60, 40
    axes = principal_axes(normal(200, size, rng=rng) @ (normal(size, size, rng=rng) / 8))
    points = sigma_points(axes, pairs)
    covered = []
    for _ in range(400):
        slopes = normal(size, rng=rng)
        score = (points @ (axes.directions.T @ slopes))[:, None]
        answer = sigma_point_gradient(axes, points, score, torch.ones(1).double())
        truth = axes.directions.T @ (axes.variances * slopes)
        covered.append((answer.gradient - truth).abs() <= 1.96 * answer.standard_error)
    assert 0.92 < torch.stack(covered).double().mean() < 0.97


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
