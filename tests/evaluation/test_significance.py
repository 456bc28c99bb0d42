"""Agreement of methods and measures, paired tests and their correction, on cases worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from freemcg.evaluation import concordance, holm, map_agreement, paired_p_value, ranks, spearman


def test_agreement_is_the_mean_rank_correlation_of_each_two_methods(rng):
    first, second = torch.randn(2, 4, 1, 5, 5, generator=rng)
    matrix = map_agreement(torch.stack([first, -first.exp(), second]))
    wanted = spearman(first, second).mean().item()
    assert matrix.flatten().tolist() == pytest.approx([1, -1, wanted, -1, 1, -wanted, wanted, -wanted, 1])


def test_ranks_by_hand():
    figures = torch.tensor([0.3, 0.9, 0.3, float("nan"), 0.1])
    up, down = (ranks(figures, higher_is_better=up).tolist() for up in (True, False))
    assert up[:3] + up[4:] == [2.5, 1, 2.5, 4]
    assert down[:3] + down[4:] == [2.5, 4, 2.5, 1]
    assert math.isnan(up[3])


def test_concordance_by_hand():
    """Rank sums 3, 4, 5 and mean 4: `12 * 2 / (4 * 24) = 0.25`."""
    alike = torch.tensor([[1.0, 2, 3, 4]] * 3)
    assert concordance(alike) == pytest.approx(1)
    assert concordance(torch.tensor([[1.0, 2, 3], [3.0, 2, 1]])) == pytest.approx(0)
    assert concordance(torch.tensor([[1.0, 2, 3], [2.0, 3, 1]])) == pytest.approx(0.25)
    tied = torch.tensor([[1.5, 1.5, 3.0]] * 4)
    assert concordance(tied) == pytest.approx(1)
    assert math.isnan(concordance(torch.tensor([[2.0, 2.0, 2.0]] * 2)))


def test_all_signs_of_three_images_by_hand():
    """Of the 8 signs, the two with all alike give a mean as far as (1, 2, 3): 2 / 8. For (-1, 2, 3) four do."""
    assert paired_p_value(torch.tensor([1.0, 2.0, 3.0])) == 2 / 8
    assert paired_p_value(torch.tensor([-1.0, 2.0, 3.0])) == 4 / 8
    assert paired_p_value(torch.tensor([0.1] * 10)) == 2 / 1024
    assert paired_p_value(torch.zeros(5)) == 1
    assert paired_p_value(torch.zeros(0)) == 1


def test_drawn_signs_agree_with_all_signs_and_with_scipy(rng):
    stats = pytest.importorskip("scipy.stats")
    many = 0.4 + torch.randn(40, generator=rng, dtype=torch.double)
    normal = stats.ttest_1samp(many.numpy(), 0).pvalue
    assert paired_p_value(many) == pytest.approx(normal, abs=0.01)
    few = 0.4 + torch.randn(11, generator=rng, dtype=torch.double)
    theirs = stats.permutation_test((few.numpy(),), lambda x: x.mean(), permutation_type="samples", n_resamples=1e9)
    assert paired_p_value(few) == pytest.approx(theirs.pvalue, abs=1e-12)
    far = torch.full((50,), 0.2)
    assert paired_p_value(far) == 1 / 10_000


def test_p_values_of_no_difference_are_uniform(rng):
    p_values = torch.tensor([paired_p_value(torch.randn(8, generator=rng)) for _ in range(400)])
    for level in (0.1, 0.3, 0.6):
        assert (p_values <= level).double().mean().item() == pytest.approx(level, abs=0.07)


def test_holm_by_hand():
    """Sorted .01, .02, .03, .04 times 4, 3, 2, 1, made to rise: .04, .06, .06, .06."""
    assert holm(torch.tensor([0.04, 0.01, 0.03, 0.02])).tolist() == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm(torch.tensor([0.5, 0.6])).tolist() == [1, 1]
    assert holm(torch.tensor([0.2])).tolist() == pytest.approx([0.2])
    assert holm(torch.zeros(0)).tolist() == []
