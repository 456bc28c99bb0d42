from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from freemcg.evaluation import mean_interval, ratio_interval, share_interval, summarise


def test_wilson_interval_is_where_the_score_test_just_fails():
    """By definition its ends solve |share - p| = z sqrt(p (1 - p) / n)."""
    interval = share_interval(torch.tensor([True] * 17 + [False] * 3))
    assert interval.value == pytest.approx(0.85)
    for end in (interval.low, interval.high):
        assert abs(0.85 - end) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / 20), rel=1e-6)


def test_a_share_of_one_still_has_an_interval():
    interval = share_interval(torch.ones(100, dtype=torch.bool))
    assert (interval.value, interval.high) == (1, 1)
    assert interval.low == pytest.approx(1 / (1 + 1.959964**2 / 100))


def test_bootstrap_of_a_mean_is_near_the_normal_interval():
    values = torch.randn(400, generator=torch.Generator().manual_seed(0)) * 3 + 10
    interval = mean_interval(values)
    half = 1.96 * values.std().item() / 20
    assert interval.value == pytest.approx(values.mean().item(), rel=1e-6)
    assert interval.low == pytest.approx(values.mean().item() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean().item() + half, abs=0.1 * half)


def test_clusters_of_one_change_nothing():
    values = torch.rand(30, generator=torch.Generator().manual_seed(0))
    own = torch.randperm(30, generator=torch.Generator().manual_seed(1)).sort().values * 7
    assert mean_interval(values, clusters=own) == mean_interval(values)
    assert share_interval(values > 0.3, clusters=own) == share_interval(values > 0.3)


def test_seeds_that_agree_count_once():
    """Three copies of each image tell no more than the images, so the interval is the same in any order of entries."""
    values = torch.rand(40, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(120, generator=torch.Generator().manual_seed(1))
    clusters = torch.arange(40).repeat(3)[order]
    copies = values.repeat(3)[order]
    for once, thrice in (
        (mean_interval(values), mean_interval(copies, clusters=clusters)),
        (share_interval(values > 0.3), share_interval(copies > 0.3, clusters=clusters)),
        (share_interval(values > -1), share_interval(copies > -1, clusters=clusters)),
    ):
        assert (once.value, once.low, once.high) == pytest.approx((thrice.value, thrice.low, thrice.high))


def test_seeds_that_differ_alike_in_every_image_all_count():
    """Each image is hit by 2 of its 3 seeds, so there is no spread between images."""
    hits, clusters = torch.tensor([True, True, False]).repeat(20), torch.arange(20).repeat_interleave(3)
    assert share_interval(hits, clusters=clusters) == share_interval(hits)
    assert mean_interval(hits.double(), clusters=clusters).low == pytest.approx(2 / 3)


def test_cluster_bootstrap_has_the_width_of_the_spread_between_clusters():
    """For 400 clusters of 5 the variance is (between + within / 5) / 400, not (between + within) / 2000."""
    generator = torch.Generator().manual_seed(0)
    clusters = torch.arange(400).repeat_interleave(5)
    values = 3 * torch.randn(400, generator=generator)[clusters] + torch.randn(2000, generator=generator)
    half = 1.96 * math.sqrt((9 + 1 / 5) / 400)
    interval = mean_interval(values, clusters=clusters)
    assert (interval.high - interval.low) / 2 == pytest.approx(half, rel=0.1)


def test_a_mean_over_clusters_of_many_sizes_is_that_of_all_entries():
    values, clusters = torch.tensor([1.0, 2.0, 3.0, 10.0]), torch.tensor([4, 4, 4, 9])
    assert mean_interval(values, clusters=clusters).value == 4
    interval = mean_interval(values, clusters=clusters)
    assert (interval.low, interval.high) == (2, 10)


@pytest.mark.parametrize("clusters", [None, torch.zeros(3, dtype=torch.long)])
def test_one_image_tells_nothing_about_others(clusters):
    values = torch.tensor([0.5]) if clusters is None else torch.tensor([0.4, 0.5, 0.6])
    interval = mean_interval(values, clusters=clusters)
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)
    assert f"{interval:.2f}" == "0.50"


def test_a_ratio_is_paired():
    reference = torch.rand(50, generator=torch.Generator().manual_seed(0)) + 0.1
    interval = ratio_interval(0.8 * reference, reference)
    assert (interval.value, interval.low, interval.high) == pytest.approx((0.8, 0.8, 0.8))
    shifted = ratio_interval(reference + 0.1, reference)
    assert shifted.value == pytest.approx(1 + 0.1 / reference.mean().item())
    assert shifted.low < shifted.value < shifted.high


def test_summary_counts_the_judge_on_the_image_returned():
    def result(brightness: float, target: int, *, flipped: bool) -> SimpleNamespace:
        image = torch.full((1, 2, 2), brightness)
        return SimpleNamespace(
            image=image,
            original=torch.zeros(1, 2, 2),
            original_log_probabilities=torch.tensor([0.9, 0.1]).log(),
            log_probabilities=torch.tensor([0.3, 0.7]).log(),
            target=target,
            flipped=flipped,
            l1=brightness,
            realism=1.0,
            queries=10 * target,
            seconds=2.0,
        )

    def judge(images):  # a bright image is class 1
        bright = images.mean(dim=(1, 2, 3))
        return torch.stack([1 - bright, bright], dim=1)

    results = [
        result(0.9, 1, flipped=True),
        result(0.2, 1, flipped=True),
        result(0.8, 0, flipped=False),
        result(0.7, 1, flipped=True),
    ]
    summary = summarise(results, judge)
    assert (summary.images, summary.flipped.value, summary.judged.value) == (4, 0.75, 0.5)
    assert summary.l1.value == summary.l2.value == pytest.approx(0.65)
    assert summary.changed.value == 1
    assert summary.gain.value == pytest.approx((0.6 - 0.6 + 0.6 + 0.6) / 4)
    assert (summary.queries, summary.most_queries, summary.seconds) == (7.5, 10, 2.0)
    assert f"{summary.flipped:.0%}".startswith("75% [")
