"""The explanation of a folder of pictures with the models that the options name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import typer

from freemcg.blackbox import BlackBox
from freemcg.commands.options import Classifier, Payment, Prior
from freemcg.commands.prepare import class_of, hush_diffusers
from freemcg.commands.sources import refuse_in_the_way
from freemcg.commands.unnamed import refuse_for_colour
from freemcg.diffusion.denoiser import Denoiser
from freemcg.explainer import FreeMCG
from freemcg.jobs.items import items_of
from freemcg.jobs.listing import list_pictures
from freemcg.jobs.plan import Task
from freemcg.jobs.processes import start_processes
from freemcg.jobs.run import run_job
from freemcg.messages.errors import UNFINISHED

Made = Callable[[BlackBox, Denoiser], FreeMCG]
"""Makes the explainer from the two models."""


def explain_folder(
    task: Task,
    images: Path,
    out: Path,
    classifier: Classifier,
    prior: Prior,
    target: str | None,
    made: Made,
    device: str | None,
    payment: Payment,
    *,
    named: dict[str, str | None],
    contribution: bool = False,
) -> None:
    """Make the missing results in `out`. If some are still missing at the end, exit with status `UNFINISHED`.

    Args:
        made: makes the explainer.
        named: what other options name, by the option. A job may not write over it.
    """
    hush_diffusers()
    listing = list_pictures(images, out)
    refuse_for_colour(prior, next(iter(listing.files.values())))
    refuse_in_the_way(out, items_of(listing, out), model=classifier.model, denoiser=prior.denoiser, **named)
    _, place = start_processes(device)
    black_box = classifier.load(place)
    wanted = class_of(target, black_box.class_names)
    payment.give(black_box, out)
    rows = run_job(
        made(black_box, prior.load(place)),
        listing,
        out,
        task=task,
        target=wanted,
        contribution=contribution,
        price_per_1000=payment.price_per_1000,
    )
    if len(rows) < len(listing.files) or any(row["unfinished"] for row in rows):
        raise typer.Exit(UNFINISHED)
