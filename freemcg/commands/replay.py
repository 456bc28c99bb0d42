"""`freemcg replay`: the same results, made again from their receipts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from freemcg.commands.options import Device
from freemcg.messages.errors import UNFINISHED
from freemcg.messages.terminal import say

EXAMPLES = ("freemcg replay results", "freemcg replay results/deep/c --denoiser models/faces")


def replay(
    folder: Annotated[Path, typer.Argument(help="Folder of results that --out named.", show_default=False)],
    denoiser: Annotated[
        str | None, typer.Option(help="The diffusion model, if it has moved from the place that the results name.")
    ] = None,
    device: Device = None,
) -> None:
    """Explain again from the receipts, and compare.

    Each result is made again from its receipt, which holds all answers. The classifier is not needed and not queried.
    If a result differs in any digit, the exit status is 1.

    It costs no query.
    """
    from freemcg.commands.prepare import hush_diffusers
    from freemcg.jobs.processes import start_processes
    from freemcg.jobs.replay import replay_folder

    hush_diffusers()
    _, place = start_processes(device)
    different = False
    for each, fields in replay_folder(folder, denoiser, device=place):
        say(f"{each}: " + (f"DIFFERENT in {', '.join(fields)}" if fields else "equal to the last digit"))
        different |= bool(fields)
    if different:
        raise typer.Exit(UNFINISHED)
