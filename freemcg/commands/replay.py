"""`freemcg replay`: the same results, made again from their receipts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from freemcg.commands.options import Device
from freemcg.messages.errors import REFUSED, UNFINISHED, InvalidValue
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
    If a result differs in any digit, the exit status is 1. If one is damaged or cannot be replayed, it is 2.

    It costs no query.
    """
    from freemcg.commands.prepare import hush_diffusers
    from freemcg.jobs.processes import start_processes
    from freemcg.jobs.replay import replay_folder

    hush_diffusers()
    _, place = start_processes(device)
    status = 0
    for each, found in replay_folder(folder, denoiser, device=place):
        if isinstance(found, InvalidValue):
            say(f"{each}: cannot be replayed: {found}", err=True)
            status = REFUSED
        else:
            say(f"{each}: " + (f"DIFFERENT in {', '.join(found)}" if found else "equal to the last digit"))
            status = max(status, UNFINISHED if found else 0)
    if status:
        raise typer.Exit(status)
