from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from freemcg.evaluation import mean_interval, share_interval, summarise


def test_wilson_interval_is_where_the_score_test_just_fails():
    """Its ends solve |share - p| = z sqrt(p (1 - p) / n), by definition."""
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


def test_summary_counts_the_judge_on_the_image_returned():
    def result(brightness: float, target: int, *, flipped: bool) -> SimpleNamespace:
        image = torch.full((1, 2, 2), brightness)
        return SimpleNamespace(
            image=image, target=target, flipped=flipped, l1=brightness, realism=1.0, queries=10 * target, seconds=2.0
        )

    def judge(images):  # class 1 where bright
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
    assert summary.l1.value == pytest.approx(0.65)
    assert (summary.queries, summary.most_queries, summary.seconds) == (7.5, 10, 2.0)
    assert f"{summary.flipped:.0%}".startswith("75% [")
