from __future__ import annotations

import math

import pytest

from freemcg.show.page.words import chance, count, counted, duration, number, odds, percent, place, with_error

MINUS = "\N{MINUS SIGN}"
COUNTS = {
    1: "1",
    1.24: "1.2",
    9.96: "10",
    62.4: "62",
    480: "480",
    1_312: "1,300",
    91_000: "91,000",
    999_600: "1 million",
    2.4e7: "24 million",
    1.6e8: "160 million",
    9.99e11: "1 trillion",
    3e20: "10^20",
}
CHANCES = {
    1.0: "over 99.99 %",
    0.99995: "over 99.99 %",
    0.9998: "99.98 %",
    0.9899: "99 %",
    0.864: "86 %",
    0.082: "8.2 %",
    0.0012: "0.12 %",
    1 / 1300: "1 in 1,300",
    1 / 24e6: "1 in 24 million",
}
PLACES = {
    (0.5, 0.5): "in the centre",
    (0.53, 0.47): "in the centre",
    (0.95, 0.5): "at the right",
    (0.05, 0.04): "at the top left",
    (0.5, 0.97): "at the bottom",
    (0.6, 0.5): "right of the centre",
    (0.5, 0.35): "above the centre",
    (0.4, 0.63): "below and left of the centre",
    (0.75, 0.55): "at the right",
}
WITH_ERRORS = {
    (0.0498, 0.0143): "+0.050 ± 0.014",
    (-31.2, 12.7): f"{MINUS}31 ± 13",
    (2.0, 0.96): "+2.00 ± 0.96",
    (0.3, math.inf): "+0.3, error unknown",
    (1e-9, 2e-9): "+1.0e-09 ± 2e-09",
    (0.25, 0.0): "+0.25 ± 0",
}


def test_counts_have_two_digits_and_a_name():
    assert {value: count(value) for value in COUNTS} == COUNTS


def test_a_chance_is_never_said_to_be_certain_or_none():
    assert {each: chance(math.log(each)) for each in CHANCES} == CHANCES


def test_a_chance_without_a_floor_is_said_too():
    assert chance(-104.0) == "1 in 10^45"
    assert chance(-5000.0) == "1 in 10^304"


@pytest.mark.parametrize(
    ("log_odds", "said"),
    [(0.0, "even"), (math.log(1.04), "even"), (math.log(3), "3 to 1"), (-math.log(24e6), "1 to 24 million")],
)
def test_odds_say_which_side_is_larger(log_odds, said):
    assert odds(log_odds) == said


def test_places_are_named_as_one_points_at_them():
    assert {at: place(*at) for at in PLACES} == PLACES


def test_places_mirror():
    swapped = {"left": "right", "right": "left", "top": "bottom", "bottom": "top", "above": "below", "below": "above"}
    for i in range(21):
        for j in range(21):
            x, y = i / 21 + 0.011, j / 21 + 0.017
            words = place(x, y).split()
            assert place(1 - x, 1 - y).split() == [swapped.get(word, word) for word in words]


def test_a_value_has_as_many_digits_as_its_error_bears():
    assert {each: with_error(*each) for each in WITH_ERRORS} == WITH_ERRORS


def test_small_words():
    shares = [percent(share) for share in (0, 0.0816, 0.42, 0.995, 0.0004)]
    assert shares == ["0.0 %", "8.2 %", "42 %", "99.50 %", "0.04 %"]
    assert [counted(amount, "query") for amount in (1, 2, 1024)] == ["1 query", "2 queries", "1,024 queries"]
    assert [counted(amount, "picture") for amount in (1, 3)] == ["1 picture", "3 pictures"]
    assert [duration(each) for each in (0.74, 9.97, 64, 210, 7560)] == ["0.7 s", "10 s", "64 s", "3.5 min", "2.1 h"]
    assert [number(each) for each in (0.0423, -3.14, math.inf)] == ["0.042", f"{MINUS}3.1", "unknown"]
