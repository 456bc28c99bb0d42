"""The templates of the page. All that is put into them is escaped."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from freemcg.show.page.words import begun, counted, number, percent

HERE = Path(__file__).parent
STYLES = ("colours", "frame", "gallery", "cards", "controls", "look", "figures", "small", "print")
SCRIPTS = ("state", "numbers", "colours", "map", "cut", "look", "path", "detail", "gallery", "theme", "keys", "start")


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


@cache
def script() -> str:
    """All scripts of the page, as one."""
    parts = "\n".join((HERE / "script" / f"{name}.js").read_text("utf-8") for name in SCRIPTS)
    return f'"use strict";\n(() => {{\n{parts}}})();\n'


def digest_of_script() -> str:
    """The digest by which a browser tells this script from any that a name of a file might smuggle in."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script().encode()).digest()).decode()
