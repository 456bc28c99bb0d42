"""The explanation of a folder of pictures with the models that the options name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from freemcg.commands.options import Classifier, Payment, Prior
from freemcg.commands.prepare import class_of, hush_diffusers
from freemcg.commands.sources import refuse_in_the_way
from freemcg.explainer import FreeMCG
from freemcg.jobs.items import items_of
from freemcg.jobs.listing import list_pictures
from freemcg.jobs.plan import Task
from freemcg.jobs.processes import start_processes
from freemcg.jobs.run import run_job
from freemcg.messages.errors import UNFINISHED


def explain_folder(
    task: Task,
    images: Path,
    out: Path,
    classifier: Classifier,
    prior: Prior,
    target: str | None,
    settings: dict[str, Any],
    device: str | None,
    payment: Payment,
    *,
    config: str | None = None,
    contribution: bool = False,
) -> None:
    """Make the missing results in `out`. If some are still missing at the end, exit with status `UNFINISHED`."""
    hush_diffusers()
    listing = list_pictures(images, out)
    refuse_in_the_way(out, items_of(listing, out), model=classifier.model, denoiser=prior.denoiser, config=config)
    _, place = start_processes(device)
    black_box = classifier.load(place)
    wanted = class_of(target, black_box.class_names)
    payment.give(black_box, out)
    explainer = FreeMCG(black_box, prior.load(place), **settings)
    rows = run_job(
        explainer,
        listing,
        out,
        task=task,
        target=wanted,
        contribution=contribution,
        price_per_1000=payment.price_per_1000,
    )
    if len(rows) < len(listing.files) or any(row["unfinished"] for row in rows):
        raise typer.Exit(UNFINISHED)
