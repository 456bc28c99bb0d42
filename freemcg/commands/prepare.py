"""The steps of a verb before its work begins: from options to settings and a target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diffusers.utils.logging import disable_progress_bar

from freemcg.blackbox import BlackBox
from freemcg.files.config import read_config
from freemcg.messages.errors import InvalidValue
from freemcg.settings import Settings, make


def settings(config: str | None, **options: float | None) -> dict[str, Any]:
    """The arguments of `FreeMCG`: those of the config, overridden by the given options."""
    values, source = ({}, "") if config is None else read_config(config)
    make(Settings, values, source=source)
    values |= {name: value for name, value in options.items() if value is not None}
    make(Settings, values)
    return values


def search_settings(config: str | None, queries: int | None, **options: float | None) -> dict[str, Any]:
    """The arguments of `FreeMCG`, with the queries of the search if they are given."""
    values = settings(config, **options)
    search = values.get("search", {})
    if queries is not None and search.get("method") == "paper":
        raise InvalidValue(
            f"--queries {queries} bounds the package's own search; the cost of the paper's procedure (--config "
            f"{config}) follows from its particles and steps; leave --queries out, or set search.particles and "
            "search.steps in a YAML file"
        )
    return values if queries is None else {**values, "search": {**search, "queries": queries}}


def class_of(target: str | None, names: Sequence[str] | None) -> int | str | None:
    """The class name if the black box has that name, else an index if it is a number."""
    if target is None or target in (names or ()):
        return target
    return int(target) if target.removeprefix("-").isdecimal() else target


def for_comparison(black_box: BlackBox) -> BlackBox:
    """The black box, which nothing asks again for a change, unless that was declared: it would cost only FreeMCG."""
    if not black_box.change_is_declared:
        black_box.may_change = False
    return black_box


def hush_diffusers() -> None:
    """Hide the bars that diffusers shows over the parts of a pipeline. The bar over the images stays."""
    disable_progress_bar()
