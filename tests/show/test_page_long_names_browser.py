"""Long names without a break, in a real browser: nothing sticks out of the page."""

from __future__ import annotations

from dataclasses import replace

import pytest
from browsing import DESKTOP, PHONE
from explanations import make_attribution, make_counterfactual
from test_page_methods import MEASURES, METHODS, PICTURES
from test_page_standing import STANDING

from freemcg.show.page.explained import Explained
from freemcg.show.page.gallery import Source, write_gallery
from freemcg.show.page.methods import write_methods

LONG = "x" * 120
CLASSES = {
    "class_names": [f"{letter}{LONG}" for letter in "abc"],
    "scores": "logits",
    "black_box": LONG,
    "denoiser": LONG,
}
OTHER = {"method": LONG, "needs_weights": True, "needs_manifold": False}
PARTS = """width => [...document.querySelectorAll('body *')]
    .filter(each => each.checkVisibility() && !each.closest('svg, .vh, .chance, .cards, .scroll, .clip, .run, option'))
    .filter(each => each.getBoundingClientRect().right > width)
    .map(each => each.outerHTML.slice(0, 90))"""


def explained(number):
    name = f"{number}{LONG}.png"
    result = make_counterfactual(record={**CLASSES, **OTHER, "settings": {}}, steps=8)
    map_ = make_attribution(image=result.original, record={**CLASSES, "settings": {}}, values=0.5 - result.image)
    return Explained(str(number), name, map_, result)


def gallery(folder, count):
    return write_gallery([Source(f"{each}", "1", lambda each=each: explained(each)) for each in range(count)], folder)


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("count", [1, 3])
def test_a_page_of_long_names_does_not_scroll_sideways(opened, tmp_path, viewport, count):
    page = opened(gallery(tmp_path, count), viewport=viewport)
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert page.evaluate(PARTS, viewport["width"]) == []
    assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_without_scripts_it_does_not_either(opened, tmp_path, viewport):
    page = opened(gallery(tmp_path, 1), viewport=viewport, ready=False, java_script_enabled=False)
    assert page.locator("h1").bounding_box()["width"] <= viewport["width"]
    assert page.locator("html").bounding_box()["width"] == viewport["width"]


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_a_comparison_of_long_names_does_not_either(opened, tmp_path, viewport):
    methods = [replace(each, name=f"{each.name}{LONG}") for each in METHODS]
    pictures = [replace(each, name=LONG, target=LONG) for each in PICTURES]
    ranks = replace(STANDING, rows=[replace(row, title=f"{row.title}{LONG}") for row in STANDING.rows], against=LONG)
    page = opened(write_methods(methods, MEASURES, pictures, 2, tmp_path, lede=LONG, standing=ranks), viewport=viewport)
    assert page.evaluate(PARTS, viewport["width"]) == []
    assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
    widths = page.evaluate("[...document.querySelectorAll('.methods th.sticky')].map(each => each.offsetWidth)")
    assert max(widths) < 0.75 * viewport["width"]  # else it would cover the table


def test_one_picture_offers_no_scale_over_all(opened, tmp_path):
    page = opened(gallery(tmp_path, 1))
    assert page.is_visible(".only")
    assert not page.is_visible(".same")
