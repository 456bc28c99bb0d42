"""A real browser for the tests of the page."""

from __future__ import annotations

import shutil

import pytest
from browsing import DESKTOP


@pytest.fixture(scope="session")
def browser():
    """Chromium without a window, through Playwright. Without either, the test is skipped."""
    why = "Playwright is not installed; the test extra brings it"
    playwright = pytest.importorskip("playwright.sync_api", reason=why)
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no Chromium was found; apt-get install chromium brings it")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def opened(browser):
    """Open a page; at the end, nothing may have been asked or complained about."""
    contexts, complaints, beside = [], [], []

    def open_(path, anchor="", viewport=DESKTOP, ready=True, **settings):
        contexts.append(browser.new_context(viewport=viewport, reduced_motion="reduce", **settings))
        page = contexts[-1].new_page()
        page.set_default_timeout(8000)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: beside.append(request.url))
        page.goto(path.as_uri() + anchor)
        if ready:
            page.wait_for_selector("html[data-ready]")
        return page

    open_.asked, open_.complaints = beside, complaints
    yield open_
    slow = "Canvas2D: Multiple readback operations"  # the tests read, not the page
    assert [each for each in complaints if not each.startswith(slow)] == []
    assert [url for url in beside if not url.startswith(("data:", "file:"))] == []
    for context in contexts:
        context.close()
