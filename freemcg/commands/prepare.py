"""What a verb makes of its options before it begins: settings, a target, a diffusion model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diffusers.utils.logging import disable_progress_bar

from freemcg.files.config import read_config
from freemcg.messages.errors import InvalidValue
from freemcg.settings import Settings, make


def settings(config: str | None, **options: float | None) -> dict[str, Any]:
    """Arguments of `FreeMCG`: those of the config, and over them the options that were given."""
    values, source = ({}, "") if config is None else read_config(config)
    make(Settings, values, source=source)
    values |= {name: value for name, value in options.items() if value is not None}
    make(Settings, values)
    return values


def search_settings(config: str | None, budget: int | None, **options: float | None) -> dict[str, Any]:
    """The same with the budget of a search, if one was given."""
    values = settings(config, **options)
    search = values.get("search", {})
    if budget is not None and search.get("method") == "paper":
        raise InvalidValue(
            f"--queries {budget} bounds the package's own search; the paper's procedure of --config {config} asks as "
            "many as its particles and steps make; leave --queries out, or set search.particles and search.steps in a "
            "YAML file"
        )
    return values if budget is None else {**values, "search": {**search, "budget": budget}}


def class_of(target: str | None, names: Sequence[str] | None) -> int | str | None:
    """A class name if the black box has that name, else an index."""
    if target is None or target in (names or ()):
        return target
    return int(target) if target.removeprefix("-").isdecimal() else target


def hush_diffusers() -> None:
    """Show no bar over the parts of a pipeline; that over the images is the one to watch."""
    disable_progress_bar()
