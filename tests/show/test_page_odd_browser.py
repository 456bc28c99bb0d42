"""Odd results in a real browser: names without breaks, and results without signal; see `conftest.py`."""

from __future__ import annotations

import pytest
import torch
from browsing import DESKTOP, PHONE, check_with_axe
from explanations import make_attribution, make_counterfactual

from freemcg.show.page.explained import Explained
from freemcg.show.page.gallery import Source, write_gallery

LONG = "w" * 120


def written(folder, *explained):
    return write_gallery([Source(each.name, "1", lambda each=each: each) for each in explained], folder)


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_a_long_name_without_breaks_does_not_scroll_sideways(opened, tmp_path, viewport):
    record = {"class_names": [LONG, LONG + "2", LONG + "3"], "method": LONG}
    result = make_counterfactual(record=record)
    page = opened(written(tmp_path, Explained("a", f"{LONG}.png", None, result)), viewport=viewport)
    assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_results_without_signal_can_be_looked_at_between_others(opened, tmp_path, viewport):
    silent = make_attribution(status="no_signal", values=torch.zeros(1, 4, 6))
    page = opened(
        written(
            tmp_path,
            Explained("a", "a.png", silent, make_counterfactual(status="no_signal")),
            Explained("b", "b.png", make_attribution(), make_counterfactual()),
        ),
        viewport=viewport,
    )
    assert page.locator(".stage").count() == 0
    check_with_axe(page)
    page.keyboard.press("]")
    page.wait_for_selector("html[data-ready='b.png']")
    assert page.locator(".stage.map").count() == 1
    page.keyboard.press("[")
    page.wait_for_selector("html[data-ready='a.png']")
    for key in ("s", "e", ",", "."):
        page.keyboard.press(key)
    assert "there is no map" in page.inner_text("#detail")
