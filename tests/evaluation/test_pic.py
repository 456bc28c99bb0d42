"""Performance information curves, on a square of noise that carries the whole decision."""

from __future__ import annotations

import sys

import pytest
import torch

from freemcg import BlackBox
from freemcg.evaluation import pic
from freemcg.evaluation.pic import THRESHOLDS, curve_area

module = sys.modules["freemcg.evaluation.pic"]  # the name in the package is the function

SIDE = 20
ZERO = torch.zeros(1, dtype=torch.long)


@pytest.fixture
def picture(rng):
    return torch.rand(1, 3, SIDE, SIDE, generator=rng)


@pytest.fixture
def box(picture):
    """It answers 0.9 for class 0 if the square is as it was, and 0.1 else."""

    def predict(images):
        whole = (images - picture)[:, :, 8:10, 8:10].abs().amax(dim=(1, 2, 3)) < 1e-3
        first = torch.where(whole, 0.9, 0.1)
        return torch.stack([first, 1 - first], dim=1)

    return BlackBox(predict, "probabilities")


def marked(value):
    maps = torch.zeros(1, 3, SIDE, SIDE)
    maps[:, :, 8:10, 8:10] = value
    return maps


def test_the_area_of_a_curve_by_hand():
    double = torch.tensor([0.25, 0.5]).double()
    assert curve_area(double, torch.tensor([0.5, 1.0]).double()) == pytest.approx(0.0625 + 0.1875 + 0.5)
    assert curve_area(double, torch.tensor([0.5, 0.1]).double()) == pytest.approx(0.0625 + 0.125 + 0.375)
    assert curve_area(double, torch.zeros(2).double()) == pytest.approx(0.25)
    assert curve_area(torch.tensor([0.5, 0.25]).double(), torch.ones(2).double()) == pytest.approx(0.125 + 0.75)


def test_counted_in_pixels_the_areas_are_those_worked_out_by_hand(box, picture, monkeypatch):
    """The square is 1 % of 400 pixels: the second threshold has it, or, ranked last, not even the one of 75 %.

    The curve rises from 0.5 to 1 % of the pixels and stays: 0.9925. Or it is 0 to 75 %, and then rises to the end: 1/8.
    """
    monkeypatch.setattr(module, "_bytes", lambda image: ((image - picture[0]).abs().amax(dim=0) < 1e-6).sum().item())
    first, last = pic(box, picture, marked(1.0), ZERO), pic(box, picture, marked(-1.0), ZERO)
    assert box.queries == 2 * (len(THRESHOLDS) + 2)
    assert (first.sic.item(), last.sic.item()) == pytest.approx((0.9925, 0.125), abs=0.004)
    assert (first.aic.item(), last.aic.item()) == pytest.approx((0.9925, 0.125), abs=0.004)


def test_counted_in_bytes_the_square_first_is_far_better_than_last(box, picture):
    first, last = pic(box, picture, marked(1.0), ZERO), pic(box, picture, marked(-1.0), ZERO)
    assert first.sic.item() > 0.8
    assert 0 < last.sic.item() < 0.2


def test_a_random_map_lies_between(box, picture, rng):
    maps = torch.randn(1, 3, SIDE, SIDE, generator=rng)
    best, worst = (pic(box, picture, marked(value), ZERO).sic.item() for value in (1.0, -1.0))
    assert worst <= pic(box, picture, maps, ZERO).sic.item() < best


def test_images_that_tell_nothing_are_left_out(picture):
    def always(images):
        return torch.tensor([[0.9, 0.1]]).expand(len(images), 2)

    assert pic(BlackBox(always, "probabilities"), picture, marked(1.0), ZERO).sic.isnan().all()  # nothing to bring back
    flat = torch.full_like(picture, 0.5)
    assert pic(BlackBox(always, "probabilities"), flat, marked(1.0), ZERO).aic.isnan().all()
    assert pic(BlackBox(always, "probabilities"), picture, marked(1.0), ZERO + 1).sic.isnan().all()  # p is 0.1


def test_a_grey_picture_is_measured_as_its_three_channels(rng):
    grey, maps = torch.rand(2, 1, 1, SIDE, SIDE, generator=rng)

    def like(images):
        near = (1 - (images - grey).abs().mean(dim=(1, 2, 3))).double()
        return torch.stack([near, 1 - near], dim=1)

    box = BlackBox(like, "probabilities")
    one, three = (pic(box, grey.expand(1, count, -1, -1), maps.expand(1, count, -1, -1), ZERO) for count in (1, 3))
    torch.testing.assert_close(one.sic, three.sic)
    assert 0.05 < one.sic.item() < 0.95
