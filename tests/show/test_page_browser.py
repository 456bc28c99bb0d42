"""The page in a real browser; see `conftest.py`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from browsing import DESKTOP, PHONE, check_with_axe
from explanations import make_attribution, make_counterfactual
from test_page_methods import MEASURES, METHODS, PICTURES
from test_page_standing import STANDING

from freemcg.show.page import gallery
from freemcg.show.page.explained import Explained
from freemcg.show.page.gallery import BESIDE, Source, write_gallery
from freemcg.show.page.methods import finding, write_methods
from freemcg.show.page.palette import signed_colours
from freemcg.show.page.words import with_error

NAMES = ["cat", "dog", "owl with quite a long name & <b>"]
SIDE = 16


def explained(number):
    """Image `number`: a map with a positive and a negative blob, and a counterfactual. Their strength grows."""
    values = torch.zeros(1, SIDE, SIDE)
    values[0, 3:5, 4:7], values[0, 10:13, 9:11] = 1.0 + number, -0.5 - number
    image = torch.linspace(0, 1 - 0.01 * number, SIDE * SIDE).reshape(1, SIDE, SIDE)
    record = {"class_names": NAMES, "scores": "logits", "settings": {"objective": "log_odds", "seed": 0}}
    parts = {"sampling": 0.5, "residual": 0.5, "misfit": 9.0, "asked": 15}
    error = torch.full_like(values, 0.1 + 0.1 * number)
    fields = {"values": values, "standard_error": error, "image": image, "record": record, "error_parts": parts}
    decision = number % 3
    attribution = make_attribution(**fields, decision=decision, target=decision, status="complete", queries=65 - number)
    answer = image.clone()
    answer[0, 2:6, 2:6] = 0.9
    path = torch.stack([image + (answer - image) * step / 6 for step in range(1, 6)])
    became = (decision + 1) % 3
    changed = {"original_decision": decision, "decision": became, "target": became, "l1": 0.05 + 0.01 * number}
    counterfactual = make_counterfactual(image=answer, original=image, path=path, record=record, **changed)
    contribution = make_attribution(**{**fields, "error_parts": None}, baseline=torch.zeros_like(image))
    return Explained(f"image-{number}", f"image-{number}.png", attribution, counterfactual, contribution)


def sources(count):
    return [Source(f"image-{number}.png", "1", lambda number=number: explained(number)) for number in range(count)]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return write_gallery(sources(4), tmp_path_factory.mktemp("page"))


def ready(page, number):
    page.wait_for_selector(f"html[data-ready='image-{number}.png']")


def pixel(page, selector, column, row):
    """The colour of a canvas, without its opacity."""
    script = f"element => [...element.getContext('2d').getImageData({column}, {row}, 1, 1).data].slice(0, 3)"
    return page.eval_on_selector(selector, script)


def test_the_map_has_the_colours_of_its_numbers_and_one_scale_if_wanted(opened, report):
    page = opened(report)
    assert pixel(page, "canvas.over", 5, 3) == [0x66, 0x28, 0x00]
    assert pixel(page, "canvas.over", 10, 11) == [0x6E, 0xA3, 0xD0]
    assert pixel(page, "canvas.over", 0, 0) == [0xF5, 0xF3, 0xEE]
    page.get_by_text("Same scale for all pictures").click()
    assert pixel(page, "canvas.over", 5, 3) == [0xF5, 0xCC, 0xA6]  # a quarter of the strongest map
    assert page.inner_text(".ends:not([hidden]) > :last-child").startswith("Orange +4")


def test_opacity_moves_map_and_legend(opened, report):
    page = opened(report)
    page.focus(".opacity")
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    assert page.inner_text(".slide output") == "70 %"
    opacity = "getComputedStyle(document.querySelector('{}'), '{}').opacity"
    assert page.evaluate(opacity.format("canvas.over", "")) == "0.7"
    assert page.evaluate(opacity.format(".bar.signed i", "::after")) == "0.7"


def test_keys_show_what_is_significant_and_the_errors(opened, report):
    page = opened(report)
    assert page.get_attribute(".outlines .plus", "d") == ""
    page.keyboard.press("s")
    assert page.is_checked(".only")
    assert sorted(page.get_attribute(".outlines .plus", "d").replace("M", " M").split()) == sorted(
        ["M4", "3V5", "M7", "3V5", "M4", "3H7", "M4", "5H7"]
    )
    page.keyboard.press("e")
    assert page.is_visible(".bar.violet")
    assert not page.is_visible(".bar.signed")
    assert page.inner_text(".ends:not([hidden]) .top") == "0.1"
    assert pixel(page, "canvas.over", 5, 3) == [0x2E, 0x0F, 0x5E]
    page.keyboard.press("e")
    page.check("[value=contribution]")
    assert page.is_visible("text=Most of the decision rests on")


def test_the_cross_reads_out_value_and_error(opened, report):
    page = opened(report)
    page.focus(".stage.map")
    page.evaluate("document.querySelector('.stage.map').scrollIntoView()")
    box = page.locator(".stage.map").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 4.5 / SIDE, box["y"] + box["height"] * 3.5 / SIDE)
    said = f"Row 4, column 5: {with_error(1.0, 0.196)} (95 %). Significant: lighter here speaks for cat."
    page.wait_for_function("said => document.querySelector('.readout').innerText === said", arg=said)
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("() => document.querySelector('.readout').innerText.includes('column 4: +0.00 ± 0.20')")
    assert "Not told from zero." in page.inner_text(".readout")
    assert page.inner_text(".cutname") == "Cut through the map along row 4"


def test_the_path_is_walked_with_slider_and_keys(opened, report):
    page = opened(report)
    answer, last = page.get_attribute(".shown", "src"), page.get_attribute(".steps", "max")
    assert last == "6"
    change = explained(0).counterfactual.image[0] - explained(0).image[0]
    added = signed_colours(change, float(change.abs().max()))[:, 3, 3]
    assert pixel(page, ".difference canvas", 3, 3) == pytest.approx(added.tolist(), abs=2)
    page.keyboard.press(",")
    assert page.input_value(".steps") == "5"
    assert page.inner_text(".changes .step") == "Step 5"
    assert page.get_attribute(".shown", "src") != answer
    page.focus(".steps")
    page.keyboard.press("Home")
    assert page.inner_text(".changes .step") == "Input"
    assert page.get_attribute(".shown", "src") == page.get_attribute(".changes .first", "src")
    assert page.inner_text(".changes .amount") == "nothing yet"
    assert pixel(page, ".difference canvas", 3, 3) == [0xF5, 0xF3, 0xEE]
    page.keyboard.press("End")
    assert page.get_attribute(".shown", "src") == answer
    page.get_by_text("Play").click()
    page.wait_for_function("() => document.querySelector('.steps').value === '1'")
    page.get_by_text("Pause").click()


def test_the_gallery_filters_sorts_and_counts(opened, report):
    page = opened(report)

    def names():
        return [each.get_attribute("href") for each in page.locator(".cards li:not([hidden]) .pick").all()]

    page.select_option(".filters .decided", "cat")
    assert page.inner_text(".count") == "2 of 4 pictures"
    assert names() == ["#image-0", "#image-3"]
    page.select_option(".filters .decided", "dog")
    ready(page, 1)  # what is shown fits the filter
    page.select_option(".filters .decided", "")
    page.select_option(".filters .order", "queries")
    assert names() == ["#image-3", "#image-2", "#image-1", "#image-0"]
    page.select_option(".filters .order", "change")
    assert names() == ["#image-0", "#image-1", "#image-2", "#image-3"]
    page.select_option(".filters .became", NAMES[2])
    page.select_option(".filters .decided", "cat")
    assert page.inner_text(".count") == "0 of 4 pictures"
    assert page.is_visible("text=No picture matches")


def test_links_and_keys_lead_to_one_image(opened, report):
    page = opened(report, "#image-2")
    assert page.inner_text(".file") == "image-2.png"
    page.keyboard.press("]")
    ready(page, 3)
    assert page.url.endswith("#image-3")
    page.keyboard.press("]")
    ready(page, 0)
    assert page.inner_text(".spots li b >> nth=0") == "At the top left"
    page.click(".pick >> nth=1")
    ready(page, 1)
    assert page.get_attribute(".pick >> nth=1", "aria-current") == "true"
    assert NAMES[2] in page.inner_text(".say >> nth=-1")


def test_what_was_switched_stays_from_image_to_image(opened, report):
    page = opened(report)
    page.keyboard.press("s")
    page.keyboard.press("]")
    ready(page, 1)
    assert page.is_checked(".only")
    assert page.get_attribute(".outlines .minus", "d") != ""


def test_the_theme_is_kept_and_paper_is_white(opened, report):
    page = opened(report, color_scheme="light")
    ink = "getComputedStyle(document.body).color"
    assert page.evaluate(ink) == "rgb(26, 28, 32)"
    page.click(".theme")
    page.click(".theme")
    assert page.inner_text(".theme") == "Theme: dark"
    assert page.evaluate(ink) == "rgb(236, 234, 228)"
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert page.inner_text(".theme") == "Theme: dark"
    for scheme in ("light", "dark"):
        page.emulate_media(media="print", color_scheme=scheme)
        assert page.evaluate(ink) == "rgb(26, 28, 32)"
    page.emulate_media(media="screen")
    page.click(".theme")
    page.emulate_media(media="print")
    assert page.inner_text(".brand") == "freemcg report"
    assert page.evaluate(ink) == "rgb(26, 28, 32)"
    assert not page.is_visible("aside")


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_anyone_can_read_and_touch_it(opened, report, viewport, scheme):
    page = opened(report, "#image-1", viewport=viewport, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
    script = """() => [...document.querySelectorAll('button, select, summary, input, .pick')]
        .filter(each => each.checkVisibility())
        .map(each => [each.className || each.tagName, each.getBoundingClientRect()])
        .filter(([, box]) => box.width < 24 || box.height < 24).map(([name]) => name)"""
    assert page.evaluate(script) == []
    check_with_axe(page)


def test_without_scripts_the_first_image_is_there(opened, report):
    page = opened(report, ready=False, java_script_enabled=False)
    assert page.is_visible("noscript .card")
    assert page.is_visible(".stage.map .still >> nth=0")
    assert page.is_visible(".spots >> nth=0")
    assert page.is_visible(".changes .difference .still")
    assert not page.is_visible(".controls")
    assert not page.is_visible(".path")


def test_images_beside_the_page_are_read_when_they_are_looked_at(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "INSIDE", 1)
    monkeypatch.setattr(gallery, "THUMBNAILS_INSIDE", 2000)
    monkeypatch.setattr(gallery, "THUMBNAILS_A_FILE", 4)
    path = write_gallery(sources(40), tmp_path)
    page = opened(path)
    page.locator(".pick >> nth=7").scroll_into_view_if_needed()
    page.wait_for_function("() => document.querySelectorAll('.pick')[7].querySelector('img').src.startsWith('data:')")
    beside = {Path(url).name for url in opened.asked if BESIDE in url}
    assert "pictures-1.js" in beside
    assert beside < {f"pictures-{number}.js" for number in range(11)}  # those in view, and no explanation
    page.keyboard.press("]")
    ready(page, 1)
    assert page.inner_text(".file") == "image-1.png"
    assert page.get_attribute(".pick >> nth=1 >> img >> nth=0", "src").startswith("data:")
    shutil.rmtree(tmp_path / BESIDE)
    page.evaluate("document.documentElement.dataset.ready = ''")
    page.keyboard.press("]")
    page.wait_for_selector("text=The explanation of image-2.png lies in the folder")
    assert opened.complaints.pop() == "Failed to load resource: net::ERR_FILE_NOT_FOUND"


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    return write_methods(
        METHODS, MEASURES, PICTURES, 2, tmp_path_factory.mktemp("compared"), lede=finding(METHODS, MEASURES)
    )


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_a_table_of_methods_is_sorted_by_what_is_pressed(opened, compared, viewport):
    page = opened(compared, viewport=viewport)

    def names():
        return [each.inner_text().split("\n")[0] for each in page.locator("tbody th").all()]

    assert names() == ["FreeMCG", "Guided IG", "RISE"]
    page.get_by_role("button", name="Deletion").click()
    assert names() == ["Guided IG", "RISE", "FreeMCG"]
    assert page.get_attribute("thead th >> nth=-1", "aria-sort") == "ascending"
    page.get_by_role("button", name="Alignment").click()
    assert names() == ["FreeMCG", "RISE", "Guided IG"]
    page.get_by_role("button", name="Alignment").click()
    assert names() == ["FreeMCG", "Guided IG", "RISE"]
    assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
    check_with_axe(page)


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_ranks_are_sorted_apart_from_the_table_above(opened, tmp_path, viewport):
    page = opened(
        write_methods(METHODS, MEASURES, PICTURES, 2, tmp_path, STANDING, lede=finding(METHODS, MEASURES)),
        viewport=viewport,
    )
    ranks = page.get_by_role("region", name="Table of ranks and tests")

    def names(table):
        return [each.inner_text().split("\n")[0] for each in table.locator("tbody th").all()]

    above = page.get_by_role("region", name="Table of methods")
    assert names(ranks) == ["Guided IG", "FreeMCG", "RISE"]
    ranks.get_by_role("button", name="Alignment").press("Enter")
    assert names(ranks) == ["FreeMCG", "Guided IG", "RISE"]
    assert names(above) == ["FreeMCG", "Guided IG", "RISE"]
    above.get_by_role("button", name="Deletion").click()
    assert names(above) == ["Guided IG", "RISE", "FreeMCG"]
    assert names(ranks) == ["FreeMCG", "Guided IG", "RISE"]
    ranks.get_by_role("button", name="Mean rank").click()
    assert names(ranks) == ["Guided IG", "FreeMCG", "RISE"]
    assert ranks.locator("[aria-sort=ascending]").inner_text() == "Mean rank"
    assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
    check_with_axe(page)
