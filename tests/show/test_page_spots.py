from __future__ import annotations

import base64
import math
import zlib

import numpy as np
import pytest
import torch

from freemcg.show.page.palette import ERROR, SIGNED, signed_colours
from freemcg.show.page.planes import plane, small_plane
from freemcg.show.page.spots import Z, letter_places, strongest_spots
from freemcg.show.page.templates import style


def planted():
    """A map of 32 x 24 with three blobs: 9 pixels of +2, 4 of -3, and one faint pixel, all with an error of 0.5."""
    values = torch.zeros(24, 32)
    values[4:7, 20:23] = 2.0
    values[15:17, 5:7] = -3.0
    values[20, 28] = 1.5
    return values, torch.full_like(values, 0.5), values != 0


def test_spots_are_the_planted_blobs_by_weight():
    first, second, third = strongest_spots(*planted())
    assert (first.x, first.y) == pytest.approx((21.5 / 32, 5.5 / 24))
    assert (first.value, first.error, first.pixels, first.half_width) == (2.0, 0.5, 9, 0.5 * Z)
    assert (second.x, second.y, second.value, second.pixels) == pytest.approx((5.5 / 32, 15.5 / 24, -3.0, 4))
    assert (third.column, third.row, third.pixels) == (28, 20, 1)


def test_a_spot_holds_what_exceeds_half_of_its_peak_and_is_joined_to_it():
    values, errors, _ = planted()
    values[4, 23], values[4, 24], values[4, 25] = 1.1, 0.9, 1.8  # the last is behind a faint one
    first = strongest_spots(values, errors, values != 0)[0]
    assert first.pixels == 10
    assert first.value == pytest.approx((9 * 2 + 1.1) / 10)


def test_a_bent_spot_is_pointed_at_where_it_is():
    values = torch.zeros(40, 40)
    values[5:9, 5], values[8, 5:9] = 1.0, 1.0
    (spot,) = strongest_spots(values, torch.ones_like(values), values != 0)
    assert values[int(spot.y * 40), int(spot.x * 40)] == 1
    assert spot.pixels == 7


def test_what_is_not_significant_makes_no_spot():
    values, errors, _ = planted()
    assert strongest_spots(values, errors, torch.zeros_like(values, dtype=torch.bool)) == []


def test_a_long_rim_is_more_than_one_spot_and_each_is_short():
    values = torch.zeros(40, 40)
    values[10] = 1.0
    spots = strongest_spots(values, torch.ones_like(values), values != 0)
    assert len(spots) == 4
    assert all(spot.pixels <= 17 for spot in spots)


def test_letters_keep_apart_and_off_the_spots():
    values, errors, on = planted()
    spots = strongest_spots(values, errors, on)
    places = letter_places(spots, values)
    for number, at in enumerate(places):
        assert 0.06 < at[0] < 0.94
        assert 0.06 < at[1] < 0.94
        assert all(math.dist(at, other) >= 0.12 for other in places[:number])
        assert all(math.dist(at, (spot.x, spot.y)) >= 0.09 for spot in spots)


def test_colours_run_straight_between_their_stops_and_zero_is_pale():
    colours = signed_colours(torch.tensor([[-2.0, 0.0, 2.0, 1.0, 5.0, math.nan]]), 2.0)[:, 0].T.tolist()
    pale, blue, orange = [0xF5, 0xF3, 0xEE], [0x0A, 0x35, 0x70], [0x66, 0x28, 0x00]
    assert colours == [blue, pale, orange, [0xE3, 0x92, 0x4A], orange, pale]
    assert signed_colours(torch.tensor([[0.25]]), 2.0).flatten().tolist() == [0xF5, 0xE0, 0xCA]


def test_the_style_has_the_colours_of_the_pictures():
    written = style()
    assert f"--signed: linear-gradient(90deg, {', '.join(SIGNED)})" in written
    assert f"--errors: linear-gradient(90deg, {', '.join(ERROR)})" in written


def test_numbers_keep_three_digits_and_a_mark_for_what_is_not_known():
    def back(text):
        return np.frombuffer(zlib.decompress(base64.b64decode(text)), "u1")

    def numbers(text):
        low, high = np.split(back(text).astype("<i4"), 2)
        return (low + 256 * high).astype("<i2").tolist()

    values = torch.tensor([[0.5, -0.25, 0.0, math.inf, math.nan, 0.1234]])
    assert numbers(plane(values, 0.5)) == [4000, -2000, 0, 32767, 32767, 987]
    assert numbers(plane(torch.zeros(1, 2), 0.0)) == [0, 0]
    assert back(small_plane(torch.tensor([-1.0, 0.5, 2.0]))).view("i1").tolist() == [-127, 64, 127]
