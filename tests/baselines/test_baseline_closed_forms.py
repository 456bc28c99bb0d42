"""The maps of each method in cases that can be worked out on paper."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import nn

from baselines import (
    IDGI,
    AdversarialGradientIntegration,
    BlurIG,
    ExpectedGradients,
    GeometricallyGuidedIG,
    Gradient,
    GuidedIG,
    InputXGradient,
    IntegratedDecisionGradients,
    IntegratedGradients,
    ManifoldIG,
    PathMethod,
    SmoothGrad,
    SmoothGradSquared,
    TangentiallyAlignedIG,
    VarGrad,
)
from baselines.base_points import (
    Blurred,
    Constant,
    FromDataset,
    Gaussian,
    ImageMean,
    MaxDistance,
    Uniform,
    as_base_point,
)
from baselines.guided_ig import guided_path
from baselines.integrated_decision_gradients import sample_edges
from baselines.path import RULES, integrate, straight_line
from freemcg.evaluation.blur import gaussian_blur
from manifolds import TangentSpace, decoder_tangent_space, geodesic, tangent_space_of

SHAPE = (3, 6, 4)
close = torch.testing.assert_close


class Scores(nn.Module):
    """A model whose logits are given by a function of flat images."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function
        self.eval()

    def forward(self, images):
        return self.function(images.flatten(1))


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


@pytest.fixture
def batch(images):
    return images.double()


@pytest.fixture
def weights():
    return normal(4, 72, seed=3)


@pytest.fixture
def linear(weights):
    return Scores(lambda x: x @ weights.T + 1)


@pytest.fixture
def quadratic():
    """A model with `0.5 x' A x` for two matrices. `.matrix` is the second one, which the tests explain."""
    roots = normal(2, 72, 72, seed=4)
    matrices = (roots + roots.mT) / 2
    model = Scores(lambda x: 0.5 * torch.einsum("ni,kij,nj->nk", x, matrices, x))
    model.matrix = matrices[1]
    return model


@pytest.fixture
def smooth():
    first, second = normal(9, 72, seed=5) / 4, normal(3, 9, seed=6)
    return Scores(lambda x: torch.tanh(x @ first.T) @ second.T)


def row(weights, index, batch):
    return weights[index].reshape(SHAPE).expand_as(batch)


class TestGradients:
    def test_gradient_equals_finite_differences(self, smooth, batch):
        found = Gradient(smooth).attribute(batch, 2)
        step = torch.zeros_like(batch)
        step[:, 1, 2, 3] = 1e-6
        wanted = (smooth(batch + step) - smooth(batch - step))[:, 2] / 2e-6
        close(found[:, 1, 2, 3], wanted, rtol=1e-5, atol=1e-8)
        close(InputXGradient(smooth).attribute(batch, 2), batch * found)

    def test_input_x_gradient_sums_to_a_homogeneous_score(self, batch):
        first, second = normal(9, 72), normal(3, 9, seed=1)
        model = Scores(lambda x: torch.relu(x @ first.T) @ second.T)
        close(InputXGradient(model).attribute(batch, 1).sum(dim=(1, 2, 3)), model(batch)[:, 1])

    def test_outputs(self, smooth, batch):
        for output, scalar in (
            ("probability", smooth(batch).softmax(1)),
            ("log_probability", smooth(batch).log_softmax(1)),
        ):
            method = Gradient(smooth, output=output)
            close(method.value(batch, torch.full((5,), 1)), scalar[:, 1])
            found, step = method.attribute(batch, 1)[0, 0, 0, 0], torch.zeros_like(batch[:1])
            step[0, 0, 0, 0] = 1e-6
            ends = [method.value(batch[:1] + sign * step, torch.tensor([1])) for sign in (1, -1)]
            close(found, (ends[0] - ends[1])[0] / 2e-6, rtol=1e-5, atol=1e-8)


class TestSmoothGrad:
    def test_linear(self, linear, weights, batch):
        close(SmoothGrad(linear).attribute(batch, 1), row(weights, 1, batch))
        close(SmoothGradSquared(linear).attribute(batch, 1), row(weights, 1, batch) ** 2)
        assert (VarGrad(linear).attribute(batch, 1).abs() < 1e-28).all()

    def test_quadratic(self, quadratic, batch):
        """The means are `A x`, `(A x)^2 + s^2 rowsum(A^2)` and `s^2 rowsum(A^2)`, up to the error of 1,000 samples."""
        scale, samples, image = 0.3, 1000, batch[:1]
        settings = {"noise": scale, "relative": False, "samples": samples}
        slope = image.flatten() @ quadratic.matrix
        variance = scale**2 * quadratic.matrix.square().sum(1)
        error = 4.5 * (variance / samples).sqrt()
        mean = SmoothGrad(quadratic, **settings).attribute(image, 1).flatten()
        spread = VarGrad(quadratic, **settings).attribute(image, 1).flatten()
        assert ((mean - slope).abs() < error).all()
        assert ((spread / variance - 1).abs() < 4.5 * math.sqrt(2 / samples)).all()
        squared = SmoothGradSquared(quadratic, **settings).attribute(image, 1).flatten()
        close(squared, mean**2 + spread)

    def test_moments_of_the_very_samples(self, smooth, batch):
        """A second route uses the single samples. The noise is relative to each image."""
        settings = {"noise": 0.2, "samples": 3, "seed": 7}
        asked = []
        method = SmoothGrad(smooth, **settings)
        whole = method.gradient
        method.gradient = lambda images, targets: asked.append(images) or whole(images, targets)
        found = method.attribute(batch, 0)
        slopes = torch.stack([whole(points, torch.zeros(5, dtype=torch.long)) for points in asked])
        close(found, slopes.mean(0))
        close(VarGrad(smooth, **settings).attribute(batch, 0), slopes.var(0, correction=0))
        close(SmoothGradSquared(smooth, **settings).attribute(batch, 0), slopes.square().mean(0))
        noise = (torch.stack(asked) - batch) / (0.2 * (batch.amax((1, 2, 3)) - batch.amin((1, 2, 3))))[
            :, None, None, None
        ]
        close(noise, noise[:, :1].expand_as(noise))
        assert noise.std().item() == pytest.approx(1, abs=0.2)
        assert not torch.equal(noise[0], noise[1])

    def test_without_noise_it_is_the_gradient(self, smooth, batch):
        close(SmoothGrad(smooth, noise=0, samples=2).attribute(batch, 0), Gradient(smooth).attribute(batch, 0))

    def test_refusals(self, linear):
        with pytest.raises(ValueError, match=r"^noise must be >= 0, got -1$"):
            SmoothGrad(linear, noise=-1)
        with pytest.raises(ValueError, match=r"^samples must be >= 1, got 0$"):
            VarGrad(linear, samples=0)


class TestEngine:
    def test_left_and_right_miss_a_square_by_one_over_the_steps(self):
        """f = (2 x1 + x2)^2 from 0 to (3, 3) gives (54, 27). Left and right miss it by 81 / N, in the same shares."""
        start, end = torch.zeros(1, 2, dtype=torch.double), torch.full((1, 2), 3, dtype=torch.double)
        weights = torch.tensor([[2.0, 1.0]], dtype=torch.double)
        gradient = lambda x: 2 * (x * weights).sum(1, keepdim=True) * weights  # noqa: E731
        factors = {"left": 1 - 1 / 4, "right": 1 + 1 / 4, "trapezoid": 1, "midpoint": 1}
        for rule in RULES:
            found = integrate(straight_line(start, end, 4), gradient, rule=rule)
            close(found, factors[rule] * torch.tensor([[54.0, 27.0]], dtype=torch.double))
            line = integrate(straight_line(start, end, 3), weights.expand_as, rule=rule)
            close(line, weights * 3)
        with pytest.raises(ValueError, match=r"^a path needs at least two points$"):
            integrate([start], gradient)
        with pytest.raises(ValueError, match=r"^rule must be one of left, right, trapezoid, midpoint, got 'simpson'$"):
            integrate([start, end], gradient, rule="simpson")


class TestIntegratedGradients:
    @pytest.mark.parametrize("base", [0.25, "white", "mean", "blur", "max_distance", "uniform", "gaussian"])
    def test_linear_and_quadratic_are_exact(self, linear, quadratic, weights, batch, base):
        start = as_base_point(base)(batch)
        close(
            IntegratedGradients(linear, base=base, steps=1).attribute(batch, 1),
            row(weights, 1, batch) * (batch - start),
        )
        middle = ((batch + start) / 2).flatten(1) @ quadratic.matrix
        wanted = (batch - start) * middle.reshape(batch.shape)
        found = IntegratedGradients(quadratic, base=base, steps=3).explain(batch, 1)
        close(found.values, wanted)
        assert (found.residual.abs() < 1e-10).all()

    def test_residual_falls_as_the_square_of_the_steps(self, smooth, batch):
        coarse, fine = (IntegratedGradients(smooth, steps=n).explain(batch, 2).residual for n in (8, 32))
        assert ((coarse / fine - 16).abs() < 1).all()

    @pytest.mark.parametrize("output", ["logit", "log_probability", "probability"])
    def test_complete_for_every_output(self, smooth, batch, output):
        method = IntegratedGradients(smooth, base=1.0, output=output, steps=200)
        targets = torch.full((5,), 2)
        rise = method.value(batch, targets) - method.value(torch.ones_like(batch), targets)
        close(method.attribute(batch, 2).sum(dim=(1, 2, 3)), rise, rtol=1e-4, atol=1e-6)

    def test_pixel_of_the_base_point_gets_nothing(self, smooth, batch):
        batch[:, :, 2] = 0
        found = IntegratedGradients(smooth).attribute(batch, 0)
        assert (found[:, :, 2] == 0).all()
        assert (found[:, :, 1] != 0).all()

    def test_mean_gradient_is_the_map_without_the_factor(self, smooth, batch):
        whole = IntegratedGradients(smooth, base="white", steps=5).explain(batch, 0)
        mean = IntegratedGradients(smooth, base="white", steps=5, multiply_by_inputs=False).explain(batch, 0)
        close(mean.values * (batch - 1), whole.values)
        close(mean.residual, whole.residual)

    def test_draws_are_averaged(self, smooth, batch):
        base = Uniform(0.2, 0.7, seed=3)
        single = [
            IntegratedGradients(smooth, base=FromDataset(base(batch[:1], draw))).explain(batch, 0) for draw in range(3)
        ]
        found = IntegratedGradients(smooth, base=base, n_base=3).explain(batch, 0)
        close(found.values, torch.stack([each.values for each in single]).mean(0))
        close(found.residual, torch.stack([each.residual for each in single]).mean(0))

    def test_refusals(self, linear, batch):
        for settings, message in (
            ({"base": 1.5}, "base must be in [0, 1], got 1.5"),
            ({"base": "blakc"}, "there is no base-point 'blakc'; did you mean 'black'?"),
            ({"steps": 0}, "steps must be >= 1, got 0"),
            ({"n_base": 0, "base": "uniform"}, "n_base must be >= 1, got 0"),
            ({"n_base": 2, "base": "white"}, "n_base is 2 but the base-point 'white' is not random; use n_base=1"),
        ):
            with pytest.raises(ValueError) as caught:
                IntegratedGradients(linear, **settings)
            assert str(caught.value) == message
        with pytest.raises(TypeError, match=r"^base must be a brightness, a name or one of .*, got list$"):
            IntegratedGradients(linear, base=[0.0])
        unasked = Scores(lambda x: 1 / 0)
        with pytest.raises(
            ValueError, match=r"^the data set's images are \(3, 5, 4\) but the images explained \(3, 6, 4"
        ):
            IntegratedGradients(unasked, base=FromDataset(torch.zeros(2, 3, 5, 4))).attribute(batch)


class TestBasePoints:
    def test_constant_mean_and_farthest(self, batch):
        assert (Constant(0.3)(batch) == 0.3).all()
        close(ImageMean()(batch), batch.mean((2, 3), keepdim=True) + torch.zeros_like(batch))
        far = MaxDistance()(batch)
        close((far - batch).abs(), torch.maximum(batch, 1 - batch))
        assert set(far.unique().tolist()) == {0, 1}

    def test_random_ones_have_the_law_they_say(self):
        grey = torch.full((1, 1, 200, 200), 0.5)
        uniform, gaussian = Uniform(0.2, 0.6)(grey), Gaussian(0.1)(grey)
        assert 0.2 <= uniform.min() < 0.201
        assert 0.599 < uniform.max() <= 0.6
        assert uniform.var().item() == pytest.approx(0.4**2 / 12, rel=0.02)
        assert gaussian.mean().item() == pytest.approx(0.5, abs=0.002)
        assert gaussian.std().item() == pytest.approx(0.1, rel=0.02)
        assert Gaussian(5.0)(grey).unique().numel() < 40000
        assert 0 <= Gaussian(5.0)(grey).min() <= Gaussian(5.0)(grey).max() <= 1

    @pytest.mark.parametrize("kind", [Uniform, Gaussian])
    def test_draws_and_seeds(self, kind, batch):
        first = kind(seed=1)(batch, 0)
        assert torch.equal(first, kind(seed=1)(batch, 0))
        assert torch.equal(first[2:3], kind(seed=1)(batch[2:3], 0))
        assert not torch.equal(first, kind(seed=1)(batch, 1))
        assert not torch.equal(first, kind(seed=2)(batch, 0))

    def test_data_set_is_gone_through_before_it_repeats(self, batch):
        base = FromDataset(batch, seed=4)
        drawn = torch.stack([base(batch[:1], draw)[0] for draw in range(10)])
        found = [next(i for i in range(5) if torch.equal(each, batch[i])) for each in drawn]
        assert sorted(found[:5]) == [0, 1, 2, 3, 4]
        assert found[5:] == found[:5]
        assert found[:5] != [0, 1, 2, 3, 4]

    @pytest.mark.parametrize(("border", "mode"), [("zero", "constant"), ("reflect", "reflect")])
    @pytest.mark.parametrize("sigma", [0.05, 0.7, 3.0, 40.0])
    def test_blur_is_that_of_scipy(self, batch, border, mode, sigma):
        ndimage = pytest.importorskip("scipy.ndimage")
        wanted = ndimage.gaussian_filter(batch.numpy(), [0, 0, sigma, sigma], mode=mode)
        close(gaussian_blur(batch, sigma, border=border), torch.from_numpy(wanted), rtol=1e-10, atol=1e-12)

    def test_blur(self, batch):
        assert torch.equal(gaussian_blur(batch, 0), batch)
        close(Blurred(2.0)(batch).mean((2, 3)), batch.mean((2, 3)))
        for call, message in (
            (lambda: gaussian_blur(batch, -1), "sigma must be >= 0, got -1"),
            (lambda: gaussian_blur(batch, 1, border="wrap"), "border must be one of zero, reflect, got 'wrap'"),
            (lambda: Blurred(0), "sigma must be > 0, got 0"),
            (lambda: Gaussian(0), "sigma must be > 0, got 0"),
            (lambda: Uniform(0.5, 0.2), "low and high must be 0 <= low < high <= 1, got 0.5 and 0.2"),
        ):
            with pytest.raises(ValueError) as caught:
                call()
            assert str(caught.value) == message


class TestExpectedGradients:
    def test_linear_gives_the_distance_to_the_mean_of_the_drawn(self, linear, weights, batch):
        found = ExpectedGradients(linear, references=batch[1:], samples=8).attribute(batch[:1], 2)
        close(found[0], weights[2].reshape(SHAPE) * (batch[0] - batch[1:].mean(0)))

    def test_agrees_with_integrated_gradients_over_the_data_set(self, smooth, batch):
        """The samples are stratified, so the error falls faster than that of independent draws."""
        wanted = IntegratedGradients(smooth, base=FromDataset(batch[2:]), n_base=3, steps=100).attribute(batch[:2], 1)
        errors = []
        for samples in (60, 600):
            found = ExpectedGradients(smooth, references=batch[2:], samples=samples).attribute(batch[:2], 1)
            errors.append(((found - wanted).norm() / wanted.norm()).item())
        assert errors[0] < 0.05
        assert errors[1] < errors[0] / 5

    def test_refusals(self, linear, batch):
        with pytest.raises(ValueError, match=r"^images must be in \[0, 1\], got values"):
            ExpectedGradients(linear, references=batch * 255)
        with pytest.raises(ValueError, match=r"^the data set's images are \(3, 6, 3\) but the images explained"):
            ExpectedGradients(linear, references=batch[..., :3]).attribute(batch)


class TestBlurIG:
    def test_linear(self, linear, weights, batch):
        rest = batch - gaussian_blur(batch, 5.0, border="zero")
        found = BlurIG(linear, max_sigma=5.0, steps=3).explain(batch, 1)
        close(found.values, row(weights, 1, batch) * rest)
        assert (found.residual.abs() < 1e-12).all()
        misses = []
        for steps in (200, 800):
            other = BlurIG(linear, max_sigma=5.0, steps=steps, form="derivative").explain(batch, 1)
            misses.append((other.values - found.values).norm() / found.values.norm())
            close(other.values.sum((1, 2, 3)) + other.residual, found.values.sum((1, 2, 3)))
        assert misses[1] < misses[0] / 1.5
        assert misses[1] < 0.03

    def test_complete(self, smooth, batch):
        found = BlurIG(smooth, max_sigma=4.0, steps=100).explain(batch, 1)
        rise = smooth(batch)[:, 1] - smooth(gaussian_blur(batch, 4.0, border="zero"))[:, 1]
        close(found.values.sum((1, 2, 3)), rise, rtol=1e-3, atol=1e-4)

    def test_refusals(self, linear):
        with pytest.raises(ValueError, match=r"^max_sigma must be > 0, got 0$"):
            BlurIG(linear, max_sigma=0)
        with pytest.raises(ValueError, match=r"^form must be one of increments, derivative, got 'both'$"):
            BlurIG(linear, form="both")


def slow_guided(x, base, gradient, steps, fraction, max_dist):
    """A slow second route for one image: it moves one number at a time, and adds the credit inside each repeat."""
    size = len(x)
    total = sum(abs(x[i] - base[i]) for i in range(size))
    here, credit = list(base), [0.0] * size
    for step in range(1, steps + 1):
        slope = gradient(here)
        size_of = [abs(value) for value in slope]
        t = step / steps
        low, high = max(t - max_dist, 0), min(t + max_dist, 1)
        for _ in range(10 * size):
            before = list(here)
            for i in range(size):
                position = high if x[i] == base[i] else (here[i] - base[i]) / (x[i] - base[i])
                if position < low:
                    here[i] = base[i] + low * (x[i] - base[i])
            far = sum(abs(x[i] - here[i]) for i in range(size))
            goal = total * (1 - t)
            done = abs(far - goal) <= 1e-9
            if not done:
                at_high = [base[i] + high * (x[i] - base[i]) for i in range(size)]
                ranked = [math.inf if abs(here[i] - at_high[i]) < 1e-12 else size_of[i] for i in range(size)]
                threshold = sorted(ranked)[math.floor(fraction * (size - 1))]
                chosen = [i for i in range(size) if ranked[i] <= threshold and ranked[i] < math.inf]
                reach = sum(abs(at_high[i] - here[i]) for i in chosen)
                share = math.inf if reach == 0 else (far - goal) / reach
                for i in chosen:
                    here[i] = at_high[i] if share > 1 else here[i] + share * (at_high[i] - here[i])
                done = share <= 1
            credit = [credit[i] + (here[i] - before[i]) * slope[i] for i in range(size)]
            if done:
                break
    return credit


class TestGuidedIG:
    @pytest.mark.parametrize(("fraction", "max_dist"), [(0.25, 0.02), (0.1, 1.0), (1.0, 0.3), (0.3, 0.0)])
    def test_linear_gives_integrated_gradients(self, linear, weights, batch, fraction, max_dist):
        found = GuidedIG(linear, steps=7, fraction=fraction, max_dist=max_dist, base=1.0).explain(batch, 1)
        close(found.values, row(weights, 1, batch) * (batch - 1))
        assert (found.residual.abs() < 1e-11).all()

    @pytest.mark.parametrize(
        ("settings", "wanted"),
        [
            ({"fraction": 0.25, "max_dist": 0.0}, (54, 27)),
            ({"fraction": 1.0, "max_dist": 1.0}, (54, 27)),
            ({"fraction": 0.25, "max_dist": 1.0}, (72, 9)),
            ({"fraction": 0.25, "max_dist": 0.2}, (65.52, 15.48)),
        ],
    )
    def test_square_of_a_sum(self, settings, wanted):
        """f = (2 x1 + x2)^2 from 0 to (3, 3). The left rule falls short of 81 by about one over the steps.

        With `max_dist` 0.2, x2 goes alone until it leads by 0.4 of the way. Then both go on together, and x1 finishes
        alone. So x1 gets 36 times the integral of 3 p + 0.4 up to p = 0.6, and of 2 p + 1 from there to 1. That is
        36 (0.78 + 1.04) = 65.52.
        """
        steps = 2000
        start, goal = torch.zeros(1, 2, dtype=torch.double), torch.full((1, 2), 3.0, dtype=torch.double)
        weights = torch.tensor([2.0, 1.0], dtype=torch.double)
        gradient = lambda x: 2 * (x @ weights)[:, None] * weights  # noqa: E731
        path = [start, *guided_path(start, goal, gradient, steps=steps, **settings)]
        found = integrate(path, gradient, rule="left")[0]
        assert found.sum().item() == pytest.approx(81 * (1 - 1 / steps), rel=1 / steps)
        assert found.tolist() == pytest.approx(wanted, abs=120 / steps)

    @pytest.mark.parametrize("fraction", [0.05, 0.25, 0.7])
    @pytest.mark.parametrize("max_dist", [0.02, 0.15, 1.0])
    def test_agrees_with_a_slow_second_implementation(self, fraction, max_dist):
        first, second = normal(6, 12, seed=1) / 2, normal(3, 6, seed=2)
        model = Scores(lambda x: torch.tanh(x @ first.T) @ second.T)
        image = torch.rand(3, 1, 3, 4, generator=torch.Generator().manual_seed(5)).double()
        image[:, :, 0, 1] = 0.5  # equal to the base-point
        method = GuidedIG(model, base=0.5, steps=9, fraction=fraction, max_dist=max_dist)
        found = method.attribute(image, 1)

        def gradient(point):
            rows = torch.tensor(point, dtype=torch.double).reshape(1, 1, 3, 4)
            return method.gradient(rows, torch.tensor([1])).flatten().tolist()

        for each, values in zip(image, found, strict=True):
            slow = slow_guided(each.flatten().tolist(), [0.5] * 12, gradient, 9, fraction, max_dist)
            close(values.flatten(), torch.tensor(slow, dtype=torch.double), rtol=1e-9, atol=1e-10)

    def test_separable_score_gives_integrated_gradients(self, batch):
        model = Scores(lambda x: torch.stack([x.pow(3).sum(1), x.sum(1)], 1))
        found = GuidedIG(model, steps=800, max_dist=0.3).attribute(batch[:1], 0)
        close(found, batch[:1] ** 3, rtol=0, atol=2e-2)
        assert (found.sum((1, 2, 3)) / batch[:1].pow(3).sum((1, 2, 3)) - 1).abs().max() < 2e-2

    def test_anchors_compose_free_runs(self, smooth, batch):
        method = GuidedIG(smooth, steps=9, anchors=2, max_dist=1.0)
        targets = torch.full((5,), 1)
        gradient = lambda points: method.gradient(points, targets)  # noqa: E731
        total = torch.zeros_like(batch)
        for part in range(3):
            begin, end = batch * part / 3, batch * (part + 1) / 3
            path = [begin, *guided_path(begin, end, gradient, steps=3, fraction=0.25, max_dist=1.0)]
            total += integrate(path, gradient, rule="left")
        close(method.attribute(batch, 1), total)
        points = list(next(iter(GuidedIG(smooth, steps=10, anchors=2).paths(batch, targets, gradient))))
        assert len(points) == 11
        close(points[3], batch / 3)
        assert torch.equal(points[-1], batch)

    def test_stays_within_max_dist_and_shortens_evenly(self, smooth, batch):
        method = GuidedIG(smooth, steps=20, max_dist=0.1)
        targets = torch.full((5,), 1)
        (path,) = method.paths(batch, targets, lambda points: method.gradient(points, targets))
        for step, point in enumerate(path):
            position = point / batch
            assert (position >= step / 20 - 0.1 - 1e-12).all()
            assert (position <= step / 20 + 0.1 + 1e-12).all()
            close((batch - point).sum((1, 2, 3)), batch.sum((1, 2, 3)) * (1 - step / 20))

    def test_float32_follows_float64(self, smooth, batch):
        first, second = normal(9, 72, seed=5).float() / 4, normal(3, 9, seed=6).float()
        single = Scores(lambda x: torch.tanh(x @ first.T) @ second.T)
        found = GuidedIG(single, steps=20).attribute(batch.float(), 1)
        close(found.double(), GuidedIG(smooth, steps=20).attribute(batch, 1), rtol=1e-2, atol=1e-4)

    def test_image_at_the_base_point_gets_nothing(self, smooth):
        assert (GuidedIG(smooth, steps=3).attribute(torch.zeros(1, *SHAPE).double(), 1) == 0).all()

    def test_refusals(self, linear):
        for settings, message in (
            ({"fraction": 0}, "fraction must be in (0, 1], got 0"),
            ({"max_dist": 2}, "max_dist must be in [0, 1], got 2"),
            ({"anchors": 5, "steps": 5}, "anchors must be >= 0 and < steps (5), got 5"),
        ):
            with pytest.raises(ValueError) as caught:
                GuidedIG(linear, **settings)
            assert str(caught.value) == message


class TestIDGI:
    @pytest.mark.parametrize("steps", [1, 3])
    @pytest.mark.parametrize("path", [IntegratedGradients, BlurIG, GuidedIG])
    def test_sum_is_exact_on_any_path(self, smooth, batch, path, steps):
        found = IDGI(smooth, path=partial(path, steps=steps)).explain(batch, 1)
        assert (found.residual.abs() < 1e-12).all()
        assert (found.values != 0).any()

    def test_linear_shares_by_squared_weights(self, linear, weights, batch):
        w = weights[1]
        wanted = (batch.flatten(1) @ w)[:, None] * w**2 / w.square().sum()
        close(IDGI(linear).attribute(batch, 1).flatten(1), wanted)

    def test_second_route(self, smooth, batch):
        gradient, total = Gradient(smooth), torch.zeros_like(batch)
        for step in range(4):
            here, there = batch * step / 4, batch * (step + 1) / 4
            slope = gradient.attribute(here, 1)
            rise = (smooth(there) - smooth(here))[:, 1, None, None, None]
            total += rise * slope**2 / slope.square().sum((1, 2, 3), keepdim=True)
        close(IDGI(smooth, path=partial(IntegratedGradients, steps=4)).attribute(batch, 1), total)

    def test_flat_piece_goes_to_the_residual_and_tiny_gradients_do_not_underflow(self, batch):
        late = Scores(lambda x: torch.stack([torch.relu(x.sum(1) - 0.6 * x.detach().sum(1).clamp(min=20)), x[:, 0]], 1))
        found = IDGI(late, path=partial(IntegratedGradients, steps=1)).explain(batch, 0)
        assert (found.values == 0).all()
        close(found.residual, late(batch)[:, 0] - late(torch.zeros_like(batch))[:, 0])
        faint = Scores(lambda x: 1e-30 * torch.stack([x.sum(1), -x.sum(1)], 1))
        values = IDGI(faint).attribute(batch.float(), 0)
        close(values.sum((1, 2, 3)), faint(batch.float())[:, 0], rtol=1e-4, atol=0)

    def test_refuses_what_has_no_path(self, linear):
        with pytest.raises(TypeError, match=r"^path must make a path method, got Gradient$"):
            IDGI(linear, path=Gradient)


class TestIntegratedDecisionGradients:
    def test_linear(self, linear, weights, batch):
        moved = batch - 1
        rise = (moved.flatten(1) @ weights[1])[:, None, None, None]
        found = IntegratedDecisionGradients(linear, base="white", steps=3).attribute(batch, 1)
        close(found, rise * row(weights, 1, batch) * moved)

    @pytest.mark.parametrize("switch", [0.1, 0.5, 0.8])
    def test_samples_gather_at_the_switch_wherever_it_is(self, batch, switch):
        """Along the line f = sigmoid((t - switch) / 0.01), so the integral of f'^2 is 1 / 6 of 1 / 0.01."""
        direction = batch[0].flatten() / batch[0].square().sum()
        model = Scores(lambda x: torch.sigmoid((x @ direction - switch) / 0.01)[:, None].expand(-1, 2))
        found = IntegratedDecisionGradients(model, steps=60).attribute(batch[:1], 0)
        assert found.sum().item() == pytest.approx(1 / 6 / 0.01, rel=0.1)
        even = torch.stack([model((step / 60 * batch[0])[None])[0, 0] for step in range(61)])
        edges = sample_edges(even[None])[0]
        assert ((edges - switch).abs() < 0.05).sum() > 45
        assert edges.diff().max() < 0.5

    def test_edges_are_the_inverse_of_the_cumulated_change(self):
        assert sample_edges(torch.zeros(1, 5))[0].tolist() == [0, 0.25, 0.5, 0.75, 1]
        edges = sample_edges(torch.tensor([[0.0, 3.0, 2.0, 2.0, 2.0]]).double())[0]
        share = torch.tensor([0.75, 0.25, 0, 0]).double() * 0.95 + 0.0125
        filled = [(edge * 4 - k).clamp(0, 1) * share[k] for edge in edges for k in range(4)]
        close(torch.stack(filled).reshape(5, 4).sum(1), torch.linspace(0, 1, 5).double())

    def test_refusals(self, linear):
        with pytest.raises(ValueError, match=r"^base must not be random, got Uniform"):
            IntegratedDecisionGradients(linear, base="uniform")


class TestGeometricallyGuidedIG:
    @pytest.mark.parametrize("combine", ["mean", "max"])
    def test_linear(self, linear, weights, batch, combine):
        method = GeometricallyGuidedIG(linear, base="white", steps=3, iterations=4, rate=0.5, combine=combine)
        close(method.attribute(batch, 1), row(weights, 1, batch))

    def test_one_iteration_times_the_way_is_integrated_gradients_by_trapezoids(self, smooth, batch):
        method = GeometricallyGuidedIG(smooth, base="white", steps=5, iterations=1, multiply_by_inputs=True)
        targets, base = torch.full((5,), 2), torch.ones_like(batch)
        slope = Gradient(smooth).gradient
        wanted = integrate(straight_line(base, batch, 5), lambda points: slope(points, targets), rule="trapezoid")
        close(method.attribute(batch, 2), wanted)

    @pytest.mark.parametrize("combine", ["mean", "max"])
    def test_gradients_of_a_quadratic_grow_by_one_factor_an_iteration(self, quadratic, batch, combine):
        """With `f = x' A x / 2` the `j`-th gradient of an ascent from `X` is `(I + rate A)^j A X`."""
        rate, iterations = 0.05, 4
        method = GeometricallyGuidedIG(quadratic, steps=2, iterations=iterations, rate=rate, combine=combine)
        growth = torch.eye(72).double() + rate * quadratic.matrix
        largest = []
        for fraction in (0, 0.5, 1):
            slope = fraction * batch.flatten(1) @ quadratic.matrix
            slopes = [slope]
            for _ in range(iterations - 1):
                slopes.append(slopes[-1] @ growth)
            largest.append(torch.stack(slopes).amax(dim=0))
        mean = largest[0] / 4 + largest[1] / 2 + largest[2] / 4
        wanted = mean if combine == "mean" else torch.stack(largest).amax(dim=0)
        close(method.attribute(batch, 1), wanted.reshape(batch.shape))

    def test_refusals(self, linear):
        with pytest.raises(ValueError, match=r"^base must not be random, got Uniform"):
            GeometricallyGuidedIG(linear, base="uniform")
        with pytest.raises(ValueError, match=r"^combine must be one of mean, max, got 'ig'$"):
            GeometricallyGuidedIG(linear, combine="ig")
        for name, value, least in (("steps", 0, 1), ("iterations", 0, 1), ("rate", -1.0, 0)):
            with pytest.raises(ValueError, match=rf"^{name} must be >= {least}, got {value}$"):
                GeometricallyGuidedIG(linear, **{name: value})


class TestAdversarialGradientIntegration:
    def test_linear_logits(self, batch):
        weights = normal(3, 72) / 100
        offset = torch.tensor([0.0, 0.0, 50.0], dtype=torch.double)  # class 2 is decided throughout
        model = Scores(lambda x: x @ weights.T + offset)
        inside = 0.3 + 0.4 * batch
        method = AdversarialGradientIntegration(model, steps=4, step_size=0.01, output="logit")
        wanted = -4 * 0.01 * weights[2] * (weights[0].sign() + weights[1].sign())
        close(method.attribute(inside, 2), wanted.reshape(SHAPE).expand_as(batch))

    def test_steps_go_on_from_the_last_and_stop_where_the_class_is_decided(self, smooth, batch):
        """A second route takes one image at a time."""
        settings = {"steps": 6, "step_size": 0.1}
        found = AdversarialGradientIntegration(smooth, **settings).attribute(batch, 1)
        gradient, taken = Gradient(smooth, output="probability"), set()
        for image, values in zip(batch, found, strict=True):
            total = torch.zeros_like(image)
            for wanted in (0, 2):
                here = image[None]
                for step in range(6):
                    if smooth(here).argmax() == wanted:
                        taken.add(step)
                        break
                    there = (here + 0.1 * gradient.attribute(here, wanted).sign()).clamp(0, 1)
                    total -= (gradient.attribute(here, 1) * (there - here))[0]
                    here = there
            close(values, total)
        assert 0 in taken
        assert max(taken) > 0

    def test_sum_approaches_the_fall_of_the_score(self, smooth, batch):
        coarse, fine = (
            AdversarialGradientIntegration(smooth, steps=round(0.1 / size), step_size=size).explain(batch, 1)
            for size in (0.02, 0.002)
        )
        assert (fine.residual.abs() < 0.2 * coarse.residual.abs() + 1e-3).all()
        assert fine.values.sum((1, 2, 3)).abs().max() > 0.02

    def test_other_classes_are_evenly_spaced_by_index(self, batch):
        asked = []
        model = Scores(lambda x: x[:, :11])
        method = AdversarialGradientIntegration(model, classes=5, steps=1)
        whole = method.gradient
        method.gradient = lambda images, targets: asked.append(targets.tolist()) or whole(images, targets)
        method.attribute(batch, [0, 5, 10, 2, 3])
        ascents = [each for each in asked if each != [0, 5, 10, 2, 3]]
        assert [each[0] for each in ascents] == [1, 3, 5, 7, 9]
        assert [each[1] for each in ascents] == [0, 2, 4, 7, 9]
        assert [each[2] for each in ascents] == [0, 2, 4, 6, 8]


class Flat:
    """An autoencoder that projects onto a plane through the origin. Its `decode` is linear."""

    def __init__(self) -> None:
        self.basis = torch.linalg.qr(normal(72, 5, seed=9)).Q

    def encode(self, images):
        return images.flatten(1) @ self.basis

    def decode(self, latents):
        return (latents @ self.basis.T).reshape(-1, *SHAPE)


class Curved(Flat):
    def decode(self, latents):
        return torch.sigmoid(8 * super().decode(latents))


class TestManifoldIG:
    def test_linear_decoder_gives_integrated_gradients_between_the_decoded_ends(self, smooth, batch):
        vae = Flat()
        found = ManifoldIG(smooth, vae=vae, base="white", steps=6).explain(batch, 1)
        start, end = (vae.decode(vae.encode(each)) for each in (torch.ones_like(batch), batch))
        targets = torch.full((5,), 1)
        wanted = integrate(straight_line(start, end, 6), lambda points: Gradient(smooth).gradient(points, targets))
        close(found.values, wanted)
        close(found.distance, (batch - end).flatten(1).norm(dim=1))
        close(found.score_gap, (smooth(batch) - smooth(end))[:, 1])
        close(found.energy, found.straight_energy)

    def test_complete_between_the_decoded_ends_along_a_geodesic(self, smooth, batch):
        vae = Curved()
        found = ManifoldIG(smooth, vae=vae, steps=60, sweeps=20).explain(batch, 1)
        ends = [vae.decode(vae.encode(each)) for each in (torch.zeros_like(batch), batch)]
        close(found.values.sum((1, 2, 3)), (smooth(ends[1]) - smooth(ends[0]))[:, 1], rtol=1e-3, atol=1e-4)
        assert (found.energy < found.straight_energy).all()
        assert found.energy.sum() < 0.98 * found.straight_energy.sum()
        curve = geodesic(vae.decode, vae.encode(torch.zeros_like(batch)), vae.encode(batch), pieces=60, sweeps=20)
        close(found.energy, curve.energy)

    def test_no_sweeps_decodes_the_straight_line(self, smooth, batch):
        vae = Curved()
        start, end = vae.encode(torch.zeros_like(batch)), vae.encode(batch)
        points = [vae.decode(torch.lerp(start, end, step / 4)) for step in range(5)]
        targets = torch.full((5,), 1)
        wanted = integrate(points, lambda images: Gradient(smooth).gradient(images, targets))
        close(ManifoldIG(smooth, vae=vae, steps=4, sweeps=0).attribute(batch, 1), wanted)

    def test_the_mean_form_is_the_same_on_a_straight_path_and_incomplete_on_a_curve(self, smooth, batch):
        straight = [
            ManifoldIG(smooth, vae=Flat(), steps=6, aggregation=form).explain(batch, 1)
            for form in ("increments", "mean")
        ]
        close(straight[0].values, straight[1].values)
        close(straight[0].residual, straight[1].residual)
        vae = Curved()
        start, end = vae.encode(torch.zeros_like(batch)), vae.encode(batch)
        points = [vae.decode(torch.lerp(start, end, step / 4)) for step in range(5)]
        targets = torch.full((5,), 1)
        middles = [(points[step] + points[step + 1]) / 2 for step in range(4)]
        slopes = torch.stack([Gradient(smooth).gradient(middle, targets) for middle in middles])
        found = ManifoldIG(smooth, vae=vae, steps=4, sweeps=0, aggregation="mean").explain(batch, 1)
        close(found.values, (points[-1] - points[0]) * slopes.mean(dim=0))
        rise = (smooth(points[-1]) - smooth(points[0]))[:, 1]
        close(found.residual, rise - found.values.sum((1, 2, 3)))
        complete = ManifoldIG(smooth, vae=vae, steps=4, sweeps=0).explain(batch, 1)
        assert (found.residual.abs() > 2 * complete.residual.abs()).any()

    def test_refusals(self, linear):
        with pytest.raises(ValueError, match=r"^aggregation must be one of increments, mean, got 'sum'$"):
            ManifoldIG(linear, vae=Flat(), aggregation="sum")
        with pytest.raises(TypeError, match=r"^vae must have encode and decode, got object without encode$"):
            ManifoldIG(linear, vae=object())
        with pytest.raises(ValueError, match=r"^base must not be random, got Uniform\(low=0\.0, high=1\.0, seed=0\)$"):
            ManifoldIG(linear, vae=Flat(), base="uniform")
        with pytest.raises(ValueError, match=r"^sweeps must be >= 0, got -1$"):
            ManifoldIG(linear, vae=Flat(), sweeps=-1)


class TestTangentiallyAlignedIG:
    @pytest.fixture
    def spaces(self):
        vae = Curved()
        return lambda images: decoder_tangent_space(vae.decode, vae.encode(images))

    def test_never_less_aligned_than_where_it_starts(self, smooth, batch, spaces):
        starts = ("black", "white", "uniform")
        settings = {"tangent_spaces": spaces, "steps": 8, "iterations": 15, "enough": 1.0}
        found = TangentiallyAlignedIG(smooth, starts=starts, **settings).explain(batch, 1)
        assert found.alignments.shape == (5, 48)
        assert (found.alignments.diff(dim=1) >= 0).all()
        slow = lambda values: torch.cat(  # noqa: E731
            [space.alignment(each[None]) for space, each in zip(spaces(batch), values, strict=True)]
        )
        close(slow(found.values), found.alignments[:, -1])
        begun = [slow(IntegratedGradients(smooth, base=start, steps=8).attribute(batch, 1)) for start in starts]
        assert (found.alignments[:, -1] >= torch.stack(begun).amax(0) - 1e-12).all()
        assert (found.alignments[:, -1] > torch.stack(begun).amax(0) + 0.1).all()
        again = IntegratedGradients(smooth, base=FromDataset(found.base_points[:1]), steps=8).attribute(batch[:1], 1)
        close(again, found.values[:1])
        assert 0 <= found.base_points.min() <= found.base_points.max() <= 1

    def test_gradient_of_the_alignment_equals_finite_differences(self, smooth, batch, spaces):
        method = TangentiallyAlignedIG(smooth, tangent_spaces=spaces, steps=5)
        base, targets, found = batch.flip(0) * 0.5, torch.full((5,), 1), spaces(batch)
        _, slope = method._alignment(base, batch, targets, found)
        direction = normal(*batch.shape, seed=8)
        ends = [method._alignment(base + sign * 1e-5 * direction, batch, targets, found)[0] for sign in (1, -1)]
        close((slope * direction).sum((1, 2, 3)), (ends[0] - ends[1]) / 2e-5, rtol=1e-6, atol=1e-8)

    def test_linear_model_reaches_the_tangent_space(self, batch):
        """`IG = w (x - a)`, so some `a` aligns it fully if it lies in [0, 1]. Here one does."""
        weights = 0.2 + torch.rand(2, 72, generator=torch.Generator().manual_seed(1)).double()
        space = tangent_space_of(torch.ones(1, 72).double())
        model = Scores(lambda x: x @ weights.T)
        method = TangentiallyAlignedIG(
            model, tangent_spaces=lambda images: [space] * len(images), steps=1, iterations=300, enough=0.99
        )
        found = method.explain(0.6 + 0.4 * batch, 0)
        assert (found.alignments[:, 0] < 0.97).all()
        assert (found.alignments[:, -1] >= 0.99).all()

    def test_stops_where_it_is_enough(self, smooth, batch):
        whole = TangentSpace(torch.eye(72).double())
        method = TangentiallyAlignedIG(smooth, tangent_spaces=lambda images: [whole] * len(images), steps=4)
        found = method.explain(batch, 1)
        close(found.alignments, torch.ones_like(found.alignments))
        assert (found.base_points == 0).all()

    def test_refusals(self, linear, batch):
        unit = TangentSpace(torch.eye(3).double())
        with pytest.raises(ValueError, match=r"^tangent_spaces answered 1 tangent spaces for 5 images$"):
            TangentiallyAlignedIG(linear, tangent_spaces=lambda images: [unit]).attribute(batch)
        with pytest.raises(ValueError, match=r"^a tangent space lies in 3 dimensions but the images have 72$"):
            TangentiallyAlignedIG(linear, tangent_spaces=lambda images: [unit] * 5).attribute(batch)
        with pytest.raises(ValueError, match=r"^starts must be a sequence of at least one base-point, got 'black'$"):
            TangentiallyAlignedIG(linear, tangent_spaces=list, starts="black")


def test_a_path_method_of_ones_own(smooth, batch):
    class Detour(PathMethod):
        cost = "2"

        def paths(self, images, targets, gradient):
            yield [torch.zeros_like(images), images.flip(0), images]

    found = Detour(smooth).explain(batch, 0)
    assert torch.isfinite(found.values).all()
    close(found.values.sum((1, 2, 3)) + found.residual, (smooth(batch) - smooth(torch.zeros_like(batch)))[:, 0])
