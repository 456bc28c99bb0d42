"""The curve of chances and the strip of decisions in a real browser; see `conftest.py`."""

from __future__ import annotations

import pytest
from browsing import DESKTOP, PHONE, check_with_axe
from test_page_along import asked

from freemcg.show.page.explained import Explained
from freemcg.show.page.gallery import Source, write_gallery

LAST = 5


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    results = {"curve": asked(), "label": asked(record={"scores": "label"})}
    sources = [
        Source(name, "1", lambda name=name, result=result: Explained(name, f"{name}.png", None, result))
        for name, result in results.items()
    ]
    return write_gallery(sources, tmp_path_factory.mktemp("along"))


def middle(page, selector):
    box = page.locator(selector).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_the_slider_is_exactly_above_its_curve_and_moves_the_mark(opened, report, viewport):
    page = opened(report, viewport=viewport)
    page.focus(".steps")
    page.locator(".strip").scroll_into_view_if_needed()
    slider, plot = page.locator(".steps").bounding_box(), page.locator(".plot").bounding_box()
    assert slider["x"] + 12 == pytest.approx(plot["x"], abs=0.5)  # half of the thumb's 24 pixels
    assert slider["x"] + slider["width"] - 12 == pytest.approx(plot["x"] + plot["width"], abs=0.5)
    assert slider["y"] + slider["height"] <= plot["y"]
    heights = page.evaluate("JSON.parse(document.querySelector('#detail .numbers').textContent).change.heights")
    page.keyboard.press("Home")
    for step in range(LAST + 1):
        assert page.input_value(".steps") == str(step)
        x, y = middle(page, ".plot .at")
        assert x == pytest.approx(plot["x"] + plot["width"] * step / LAST, abs=0.5)
        assert y == pytest.approx(plot["y"] + heights[step], abs=0.5)
        page.keyboard.press(".")


def test_each_step_says_how_it_is_decided(opened, report):
    page = opened(report)
    page.keyboard.press(",")
    assert page.inner_text(".changes .after") == "decided dog, 99.90 %"
    assert "step 4 of 5, decided dog, 99.90 %" in page.get_attribute(".steps", "aria-valuetext")
    page.keyboard.press(",")
    assert page.inner_text(".changes .after") == "decided owl, 50 %"
    plot = page.locator(".plot").bounding_box()
    page.locator(".plot").click(position={"x": plot["width"] * 0.21, "y": 40})
    assert page.input_value(".steps") == "1"
    assert page.inner_text(".changes .step") == "Step 1"


def test_the_strip_lies_below_the_steps_and_tells_without_colour(opened, report):
    page = opened(report)
    runs = page.locator(".run")
    assert runs.all_inner_texts() == ["cat", "owl", "dog"]
    plot = page.locator(".plot").bounding_box()
    edges = [runs.nth(number).bounding_box()["x"] for number in range(3)]
    assert edges == pytest.approx([plot["x"] + plot["width"] * share for share in (0, 0.1, 0.7)], abs=0.5)
    fill = "element => [getComputedStyle(element).backgroundColor, getComputedStyle(element).backgroundImage]"
    fills = [runs.nth(number).evaluate(fill) for number in range(3)]
    assert fills[0] == ["rgb(207, 204, 195)", "none"]
    assert fills[1][1].startswith("repeating-linear-gradient(45deg")
    assert fills[2] == ["rgb(26, 28, 32)", "none"]


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["curve", "label"])
def test_anyone_can_read_it(opened, report, viewport, scheme, name):
    page = opened(report, f"#{name}", viewport=viewport, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
    assert page.is_visible(".curve") == (name == "label")
    assert page.get_attribute(".plot", "role") == "img"
    assert "step 4 to the answer dog" in page.get_attribute(".plot", "aria-label")
    texts = page.locator(".plot text").all()
    assert all(each.bounding_box()["x"] + each.bounding_box()["width"] <= viewport["width"] - 16 for each in texts)
    check_with_axe(page)


def test_without_scripts_and_on_paper_the_curve_stays(opened, report):
    page = opened(report, ready=False, java_script_enabled=False)
    assert page.is_visible(".plot .line")
    assert page.is_visible("text=From step 4 on, every picture here is decided dog.")
    assert not page.is_visible(".steps")
    assert not page.is_visible(".play")
    page = opened(report)
    page.emulate_media(media="print", color_scheme="dark")
    assert page.is_visible(".plot .line")
    assert page.is_visible(".strip")
    assert not page.is_visible(".steps")
    assert page.eval_on_selector(".plot .line", "line => getComputedStyle(line).stroke") == "rgb(26, 28, 32)"
