"""Ranks and tests on the page of a comparison: what they say, where they are drawn, and how they are sorted."""

from __future__ import annotations

import re

import pytest
from test_page_methods import MEASURES, METHODS, PICTURES

from freemcg.show.page.methods import finding, write_methods
from freemcg.show.page.standing import PairedTest, Ranked, Standing

BETTER, WORSE = PairedTest(0.1, 0.02, 0.18, 0.012), PairedTest(-0.5, -0.62, -0.4, 0.0004)
UNTOLD = PairedTest(0.04, -0.02, 0.1, 0.3)
STANDING = Standing(
    [
        Ranked("Guided IG", 1.5, [2, 1], [BETTER, UNTOLD]),
        Ranked("FreeMCG", 2.0, [1, 3], [None, None]),
        Ranked("RISE", 2.5, [3, 2], [WORSE, None]),
    ],
    "FreeMCG",
    3,
)


def test_a_verdict_needs_a_small_p_and_follows_the_sign():
    assert [each.verdict for each in (BETTER, WORSE, UNTOLD)] == ["better", "worse", "not told apart"]
    assert PairedTest(0.0, 0.0, 0.0, 0.01).verdict == "not told apart"
    assert PairedTest(0.1, 0.0, 0.2, 0.05).verdict == "not told apart"


def test_a_test_in_words():
    assert BETTER.words == "+0.1 (0.02 to 0.18), p = 0.012"
    assert WORSE.words == "\N{MINUS SIGN}0.5 (\N{MINUS SIGN}0.62 to \N{MINUS SIGN}0.4), p < 0.001"


def test_each_measure_has_a_scale_about_no_gain():
    assert (STANDING.reach(0), STANDING.reach(1)) == (0.62, 0.1)
    assert STANDING.place(0, 0) == 50
    assert STANDING.place(-0.62, 0) == pytest.approx(1)
    assert STANDING.place(0.1, 1) == pytest.approx(99)


def test_the_page_says_who_is_better_than_whom(tmp_path):
    page = write_methods(
        METHODS, MEASURES, PICTURES, 2, tmp_path, STANDING, lede=finding(METHODS, MEASURES)
    ).read_text()
    table = page.split('id="standing"')[1].split("</section>")[0]
    shown = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", table))
    assert "worse than FreeMCG on the same pictures" in shown
    assert "Holm's correction for 3 tests" in shown
    assert "Guided IG 1.5 2 better +0.1 (0.02 to 0.18), p = 0.012 1 not told apart" in shown
    assert "FreeMCG the others are tested against it 2.0 1 3 RISE 2.5 3 worse" in shown


def test_without_tests_only_ranks_are_shown(tmp_path):
    alone = Standing([Ranked("<b>", None, [None, 1], [None, None])], "", 0)
    page = write_methods(
        METHODS[:1], MEASURES, PICTURES, 2, tmp_path, alone, lede=finding(METHODS[:1], MEASURES)
    ).read_text()
    assert "Holm" not in page
    assert "&lt;b&gt;" in page
    assert (
        'id="standing"'
        not in write_methods(METHODS, MEASURES, PICTURES, 2, tmp_path, lede=finding(METHODS, MEASURES)).read_text()
    )
