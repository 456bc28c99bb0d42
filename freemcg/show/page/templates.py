"""The templates of the page. All that is put into them is escaped."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from freemcg.show.page.words import begun, counted, number, percent
from freemcg.version import __version__

HERE = Path(__file__).parent
STYLES = ("colours", "frame", "gallery", "cards", "controls", "look", "figures", "along", "table", "small", "print")
RESULTS = ("state", "numbers", "colours", "map", "cut", "look", "path", "detail", "gallery", "theme", "keys", "start")
COMPARISON = ("state", "theme", "table")
"""The scripts of each kind of page, in the order in which they run."""


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(begun=begun, counted=counted, number=number, percent=percent)
    return environment


def render(template: str, **values: Any) -> str:
    """A template filled with values."""
    return _environment().get_template(template).render(values)


@cache
def style() -> str:
    """All styles of the page."""
    return "\n".join((HERE / "style" / f"{name}.css").read_text("utf-8") for name in STYLES)


def page(template: str, scripts: tuple[str, ...], **values: Any) -> str:
    """A whole page, with the style and these scripts inside it. A browser runs no other script in it."""
    program = _script(scripts)
    digest = base64.b64encode(hashlib.sha256(program.encode()).digest()).decode()
    inside = {"style": style(), "script": program, "digest": f"sha256-{digest}", "version": __version__}
    return render(template, **inside, **values)


@cache
def _script(names: tuple[str, ...]) -> str:
    parts = "\n".join((HERE / "script" / f"{name}.js").read_text("utf-8") for name in names)
    return f'"use strict";\n(() => {{\n{parts}}})();\n'
