"""Who leads, for the top of the page: on the same images for all, and only if there are enough of them."""

from __future__ import annotations

import math

import pytest
import torch

from freemcg.comparison.leads import who_leads
from freemcg.show.page.methods import Measure, Method

UP = Measure("Up", True, "more")
OTHER = Measure("Other", True, "more")
METHODS = [Method(name, "1 query", False, [], [], 0, "") for name in ("rise", "geex")]


def figures(*rows):
    return torch.tensor(rows, dtype=torch.double)


@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_nobody_leads_on_few_pictures(count):
    told = who_leads(METHODS, [UP], [figures([0.2] * count, [0.9] * count)])
    if count >= 5:
        assert told == "In up, <b>GEEX</b> leads."
    else:
        noun = "1 picture is" if count == 1 else f"{count} pictures are"
        assert told == f"{noun} too few to tell which method leads; 5 or more are needed."


def test_who_leads_counts_only_pictures_that_all_have():
    """RISE is better wherever both have a figure, and GEEX lacks the pictures on which both are bad."""
    rise, geex = [0.0, 0.0, 0.8, 0.8, 0.8, 0.8, 0.8], [math.nan, math.nan, 0.7, 0.7, 0.7, 0.7, 0.7]
    assert who_leads(METHODS, [UP], [figures(rise, geex)]) == "In up, <b>RISE</b> leads."


def test_measures_with_enough_pictures_are_told_apart_from_those_without():
    values = figures([0.2] * 6, [0.9] * 6)
    few = values.clone()
    few[:, 2:] = math.nan
    assert who_leads(METHODS, [UP, OTHER], [values, few]) == (
        "In up, <b>GEEX</b> leads. 2 pictures are too few to tell which method leads in other; 5 or more are needed."
    )


def test_one_method_alone_leads_in_nothing():
    assert who_leads(METHODS[:1], [UP], [figures([0.2] * 6)]) == ""
