"""Measures of counterfactuals on pairs, features and answers whose figures are known by hand."""

from __future__ import annotations

import pytest
import torch

from freemcg import BlackBox
from freemcg.evaluation import (
    changes,
    cout,
    diversity,
    feature_similarity,
    frechet_distance,
    nearest,
    split_frechet_distance,
    target_gain,
)


def gaussian(rng, count, root, mean):
    """Features whose mean and covariance are exactly `mean` and `root root^T`."""
    drawn = torch.randn(count, len(root), generator=rng, dtype=torch.double)
    drawn = drawn - drawn.mean(dim=0)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(torch.cov(drawn.T)), drawn.T, upper=False)
    return (root @ white).T + mean


# --- Frechet distance ---


def test_a_shift_costs_its_square_and_equal_sets_nothing(rng):
    features = torch.randn(50, 6, generator=rng)
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(features, features + 0.5) == pytest.approx(6 * 0.25, rel=1e-6)


def test_covariances_that_commute_cost_the_squares_of_the_deviations_differences(rng):
    turned = torch.linalg.qr(torch.randn(3, 3, generator=rng, dtype=torch.double))[0]
    deviations = torch.tensor([1.0, 2.0, 0.0]).double(), torch.tensor([3.0, 0.5, 0.7]).double()
    zero = torch.zeros(3).double()
    first = gaussian(rng, 40, torch.eye(3).double(), zero) @ torch.diag(deviations[0]) @ turned.T
    second = gaussian(rng, 90, torch.eye(3).double(), zero) @ torch.diag(deviations[1]) @ turned.T
    wanted = (deviations[0] - deviations[1]).square().sum().item()
    assert frechet_distance(first, second) == pytest.approx(wanted, rel=1e-6)


def test_covariances_that_do_not_commute_are_scipys(rng):
    linalg = pytest.importorskip("scipy.linalg")
    first, second = (
        torch.randn(30, 4, generator=rng).double(),
        torch.randn(25, 4, generator=rng).double() @ (torch.randn(4, 4, generator=rng).double()),
    )
    one, two = torch.cov(first.T), torch.cov(second.T)
    common = linalg.sqrtm((one @ two).numpy()).real.trace()
    shift = (first.mean(dim=0) - second.mean(dim=0)).square().sum()
    wanted = (shift + one.trace() + two.trace() - 2 * common).item()
    assert frechet_distance(first, second) == pytest.approx(wanted, rel=1e-6)
    assert frechet_distance(second, first) == pytest.approx(wanted, rel=1e-6)


def test_the_split_distance_is_not_flattered_by_pairs(rng):
    """Copies of few images have distance 0, and split they have that of two halves of the images."""
    features = torch.randn(8, 3, generator=rng)
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-9)
    split = [split_frechet_distance(features, features, seed=seed) for seed in range(3)]
    assert min(split) > 0.1
    assert len(set(split)) == 3
    with pytest.raises(ValueError, match="at least four images"):
        split_frechet_distance(features[:3], features[:3])
    with pytest.raises(ValueError, match=r"got \(8, 3\) and \(8, 2\)"):
        frechet_distance(features, features[:, :2])


def test_similarity_of_features_is_their_cosine():
    first = torch.tensor([[1.0, 0.0], [1.0, 1.0], [2.0, 0.0]])
    second = torch.tensor([[5.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    assert feature_similarity(first, second).tolist() == pytest.approx([1, 0.5**0.5, -1])


# --- COUT ---


def linear(images):
    """The probability of class 1 is the mean of the image."""
    share = images.double().mean(dim=(1, 2, 3))
    return torch.stack([1 - share, share], dim=1)


def at_once(images):
    """Class 1 as soon as the first pixel is bright."""
    share = (images[:, 0, 0, 0] > 0.5).double()
    return torch.stack([1 - share, share], dim=1)


def measure(predict, images, others, steps):
    ones = torch.ones(len(images), dtype=torch.long)
    box = BlackBox(predict, "probabilities")
    found = cout(box, images, others, ones, 0 * ones, steps=steps)
    assert box.queries == len(images) * (steps + 1)
    return found.tolist()


def test_cout_by_hand():
    black, white = torch.zeros(1, 1, 4, 5), torch.ones(1, 1, 4, 5)
    assert measure(linear, black, white, 10) == pytest.approx([0], abs=1e-6)
    first = 0.9 * white
    first[0, 0, 0, 0] = 1.0
    assert measure(at_once, black, first, 10) == pytest.approx(
        [1 - 1 / 10], abs=1e-6
    )  # -1 at the start, 1 from then on
    last = white.clone()
    last[0, 0, 0, 0] = 0.6
    assert measure(at_once, black, last, 20) == pytest.approx([-1 + 1 / 20], abs=1e-6)
    assert measure(linear, black, black.clone(), 7) == [0]
    assert measure(linear, black, 0.25 * white, 5) == pytest.approx([-0.75], abs=1e-6)


# --- changes ---


def test_changes_by_hand():
    images = torch.zeros(2, 3, 2, 2)
    others = images.clone()
    others[1, 0, 0, 0], others[1, 2, 1, 1], others[1, 1, 0, 1] = 0.6, 0.8, 0.003
    found = changes(images, others)
    assert found.l1.tolist() == pytest.approx([0, 1.403 / 12])
    assert found.l2.tolist() == pytest.approx([0, ((0.36 + 0.64 + 9e-6) / 12) ** 0.5])
    assert found.share.tolist() == [0, 0.5]
    assert changes(images, others, threshold=0.001).share.tolist() == [0, 0.75]
    assert changes(images, images + 1).l2.tolist() == pytest.approx([1, 1])
    with pytest.raises(ValueError, match="images and counterfactuals must have one shape"):
        changes(images, others[:1])


def test_the_gain_of_the_target_by_hand():
    before, after = torch.tensor([[0.9, 0.1], [0.5, 0.5]]).log(), torch.tensor([[0.2, 0.8], [0.6, 0.4]]).log()
    assert target_gain(before, after, torch.tensor([1, 1])).tolist() == pytest.approx([0.7, -0.1])


def test_diversity_is_the_mean_over_pairs():
    shades = torch.tensor([0.0, 0.0, 0.6])[:, None, None, None].expand(3, 1, 2, 2)
    assert diversity(shades) == pytest.approx(0.4)
    assert diversity(shades[:2]) == 0
    assert diversity(shades, lambda one, other: (one - other).square().flatten(1).sum(dim=1)) == pytest.approx(0.96)
    with pytest.raises(ValueError, match="diversity needs at least two counterfactuals, got 1"):
        diversity(shades[:1])


def test_the_nearest_known_image_is_found_among_many(rng):
    known = torch.rand(20, 1, 3, 3, generator=rng)
    near = (known[[7, 3]] + 0.01).clamp(max=2)
    distances, numbers = nearest(near, known)
    assert numbers.tolist() == [7, 3]
    assert distances.tolist() == pytest.approx([0.01, 0.01], rel=1e-4)
