"""Sizes of windows, and the check that anyone can read and use a page.

`FREEMCG_AXE` names the file `axe.min.js` of axe-core, if it is not in `node_modules`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
AXE = Path(os.environ.get("FREEMCG_AXE", ROOT / "node_modules" / "axe-core" / "axe.min.js"))
PHONE, DESKTOP = {"width": 375, "height": 700}, {"width": 1280, "height": 900}


def check_with_axe(page):
    """Fail if axe-core finds that anyone is kept from reading or using a page."""
    if not AXE.is_file():
        pytest.skip("axe-core was not found; npm install axe-core brings it, or FREEMCG_AXE names its axe.min.js")
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run()")["violations"]
    assert [(each["id"], [node["html"][:120] for node in each["nodes"]]) for each in found] == []
