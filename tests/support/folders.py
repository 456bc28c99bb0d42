"""A job on a folder of pictures that is named by its path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from freemcg import FreeMCG
from freemcg.jobs import run
from freemcg.jobs.items import Item, items_of
from freemcg.jobs.listing import list_pictures


def run_job(explainer: FreeMCG, images: Path, out: Path, **given: Any) -> list[dict[str, Any]]:
    """As `freemcg.jobs.run.run_job`."""
    return run.run_job(explainer, list_pictures(images, out), out, **given)


def list_items(images: Path, out: Path) -> list[Item]:
    """As `freemcg.jobs.items.items_of`."""
    return items_of(list_pictures(images, out), out)
