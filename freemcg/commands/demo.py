"""`freemcg demo`: digits, explained with the bundled models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = ("freemcg demo", "freemcg demo --images 10 --out digits")


def demo(
    out: Annotated[Path, typer.Option(help="Folder of the pictures and results.")] = Path("freemcg-demo"),
    images: Annotated[int, typer.Option(help="How many digits, 1..10.")] = 4,
    seed: Annotated[int, typer.Option(help="Seed of the choice and of all noise.")] = 0,
) -> None:
    """Explain digits with the bundled models.

    The handwritten digits were held out in training. For each you see where the bundled classifier looks, and a change
    that flips its decision. Each costs about 110 queries and 4 seconds on two CPU cores.
    """
    from freemcg.commands.prepare import hush_diffusers
    from freemcg.jobs.demo import run_demo

    hush_diffusers()
    run_demo(out, images=images, seed=seed)
