"""`freemcg demo`: digits or chest X-rays, explained with the bundled models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = ("freemcg demo", "freemcg demo --images 10 --out digits", "freemcg demo --data chest-xrays --out x-rays")


def demo(
    out: Annotated[Path, typer.Option(help="Folder of the pictures and results.")] = Path("freemcg-demo"),
    data: Annotated[str, typer.Option(help="digits, or chest-xrays: normal or pneumonia.")] = "digits",
    images: Annotated[int, typer.Option(help="How many images, 1..10.")] = 4,
    seed: Annotated[int, typer.Option(help="Seed of the choice and of all noise.")] = 0,
) -> None:
    """Explain digits or chest X-rays with the bundled models.

    The images were held out in training. For each you see where the bundled classifier looks, and a change that flips
    its decision. Each costs about 110 queries and 4 seconds on two CPU cores.
    """
    from freemcg.commands.prepare import hush_diffusers
    from freemcg.jobs.demo import run_demo

    hush_diffusers()
    run_demo(out, data=data, images=images, seed=seed)
