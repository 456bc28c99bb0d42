"""Ranks are of the same images for all methods, and of all measures: nothing is won by what is missing."""

from __future__ import annotations

import math

import pytest
import torch

from freemcg.comparison.measure import Column
from freemcg.comparison.ranking import compared, ranked

UP, DOWN = Column("up", True, 0, 1, "more"), Column("down", False, 0, 1, "less")
NONE = math.nan
EIGHT = torch.linspace(0.1, 0.8, 8, dtype=torch.double)


def table(*rows):
    return torch.stack([torch.as_tensor(row, dtype=torch.double) for row in rows])


def test_a_method_that_failed_on_hard_images_gains_nothing_by_it():
    """The mean of what is there would put the second first: it lacks the two images on which all are bad."""
    first = torch.tensor([0.0, 0.1, 0.8, 0.8, 0.8, 0.8]).double()
    second = torch.tensor([NONE, NONE, 0.7, 0.7, 0.7, 0.7]).double()
    assert second.nanmean() > first.mean()
    ranking = ranked({"up": table(first, second)}, [UP], ("first", "second"))
    assert ranking.places["up"].tolist() == [1, 2]
    assert ranking.images == {"up": 4}
    assert "ranked on 4 of 6 images, those with a figure of every ranked method: up" in ranking.remarks


def test_a_method_that_mostly_fails_does_not_choose_the_images_of_all():
    mostly = torch.full((8,), NONE).double()
    mostly[0] = 1.0
    takes, common = compared(table(EIGHT, EIGHT + 0.1, mostly))
    assert takes.tolist() == [True, True, False]
    assert common.all()
    ranking = ranked({"up": table(EIGHT, EIGHT + 0.1, mostly)}, [UP], ("a", "b", "mostly"))
    assert ranking.places["up"].tolist()[:2] == [2, 1]
    assert ranking.means == [2, 1, None]
    assert "no mean rank for mostly, which lacks figures under up" in ranking.remarks


def test_a_method_without_a_measure_has_no_mean_rank():
    """With the mean of the ranks that it has, the third would be the best of all: it is first where it takes part."""
    none = torch.full((8,), NONE).double()
    figures = {"up": table(EIGHT, EIGHT + 0.1, EIGHT + 0.2), "down": table(EIGHT, EIGHT + 0.1, none)}
    ranking = ranked(figures, [UP, DOWN], ("a", "b", "third"))
    assert ranking.means == [2.0, 2.0, None]
    assert ranking.lacking("third") == ["down"]


def test_a_measure_that_nobody_else_has_ranks_nothing():
    none = torch.full((8,), NONE).double()
    ranking = ranked({"up": table(EIGHT, EIGHT + 0.1), "down": table(EIGHT, none)}, [UP, DOWN], ("a", "b"))
    assert list(ranking.places) == ["up"]
    assert ranking.means == [2, 1]


def test_images_that_no_method_has_in_common_rank_nothing():
    halves = table([0.5] * 4 + [NONE] * 4, [NONE] * 4 + [0.6] * 4)
    assert ranked({"up": halves}, [UP], ("a", "b")).places == {}


@pytest.mark.parametrize(("second", "agree"), [(UP, "1.00"), (DOWN, "0.00")])
def test_agreement_says_what_it_is_over(second, agree):
    """A method without a measure is left out of it, and so its ranks do not count."""
    other = Column("other", second.higher, 0, 1, "")
    none = torch.full((8,), NONE).double()
    up = table(EIGHT, EIGHT + 0.1, EIGHT + 0.2)
    figures = {"up": up, "other": table(EIGHT, EIGHT + 0.1, none)}
    assert ranked(figures, [UP, other], ("a", "b", "c")).remarks[0] == (
        f"the measures agree by {agree} (Kendall's W: 1 alike, 0 not at all), over up, other and over 2 methods: a, b"
    )


@pytest.mark.parametrize("count", [4, 5])
def test_few_images_tell_nothing(count):
    remarks = ranked({"up": table(EIGHT[:count], EIGHT[:count] + 0.1)}, [UP], ("a", "b")).remarks
    assert ("too few images to tell which method is better: 5 or more are needed" in remarks) == (count < 5)
