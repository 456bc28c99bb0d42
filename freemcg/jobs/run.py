"""Explain a folder of images one after another, over the processes that Accelerate started.

Every finished image has a folder of its own with its pictures, `receipt.safetensors` (the questions and answers),
`record.json`, and last `result.safetensors`. Each file is written whole. So a job that was stopped goes on,
and a result does not depend on the number of processes. A picture that has changed is explained anew, and so is one for
which the budget of an earlier start was too small.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from freemcg.blackbox import QueryBudgetExceeded
from freemcg.explainer import FreeMCG
from freemcg.files.whole import naming
from freemcg.jobs.announce import announce as announce_job
from freemcg.jobs.items import Item, items_of
from freemcg.jobs.listing import Listing
from freemcg.jobs.made_with import check_made_with, digest_of_settings, job_settings, write_made_with
from freemcg.jobs.one import draw_missing, explain
from freemcg.jobs.page import try_to_write_page
from freemcg.jobs.pictures import Look, Pictures
from freemcg.jobs.plan import Task
from freemcg.jobs.report import report, rows_of, say_disagreement, say_what_is_left, say_what_is_lost
from freemcg.jobs.start import Start
from freemcg.jobs.unchanged import check_unchanged, oldest_answer
from freemcg.jobs.unreadable import check_some_are_left


def run_job(
    explainer: FreeMCG,
    listing: Listing,
    out: Path,
    *,
    task: Task,
    target: float | str | None = None,
    contribution: bool = False,
    price_per_1000: float | None = None,
) -> list[dict[str, Any]]:
    """Explain every image that is not done yet. The main process prints and writes a table and a page.

    Args:
        listing: the pictures; see `list_pictures`.
        out: the folder of results. Image `a/b.png` gets the folder `out/a/b`.
        target: class index or name. `None` explains each decision, or seeks the runner-up. For a model that answers a
            value, the target is what `FreeMCG.counterfactual` takes.
        contribution: also write the contribution of each attribution, `contribution.safetensors` and `.png`. It costs
            no query, not even for images that are done.
        price_per_1000: the price of a thousand queries, in any currency. It is shown beside the queries.

    Returns:
        The rows of the table for all images, on every process. If the budget ended before, there are fewer. Each says
        whether the budget cut its explanation short, as `unfinished`.

    Raises:
        QueryBudgetExceeded: the budget was too small for one image, and none was done before.
        ValueError: before the first query: no picture can be read, the class does not exist, or `out` holds results
            made with other settings. After it: the model answers otherwise than when they were made, or not as
            declared; finished images are kept.

    If pictures of a folder cannot be read, they are named on the error stream and left out.

    An image costs at most `most_queries` queries. If some are done before, `check_unchanged` adds its cost.
    """
    start = Start(explainer.black_box, price_per_1000)
    wanted = explainer.known_target(target, task)
    made_with = job_settings(explainer, task, wanted)
    cache = explainer.black_box.cache
    items = items_of(listing, out, digest_of_settings(made_with), cache=None if cache is None else cache.path)
    pending = [item for item in items if not item.done]
    pictures = Pictures(explainer.denoiser)

    def check() -> Look:
        if start.speaks:
            check_made_with(out, made_with, [item.folder for item in items if item.of_others])
        return pictures.look_at(start.share(pending), alone=listing.alone)

    looks = start.together(check)
    unreadable = {name: why for look in looks for name, why in look.unreadable.items()}
    pending = [item for item in pending if item.name not in unreadable]

    def announce() -> None:
        if not start.speaks:
            return
        check_some_are_left(listing, unreadable.values())
        if (then := oldest_answer(items)) is not None:
            check_unchanged(explainer.black_box, replace(then, image=then.image.to(explainer.denoiser.device)), out)
        with naming(out):
            out.mkdir(parents=True, exist_ok=True)
        write_made_with(out, made_with)
        announce_job(explainer, task, items, pending, looks, price_per_1000)

    def work() -> None:
        draw_missing(start.share(items), task, contribution=contribution)

        def one(item: Item) -> None:
            explain(explainer, item, pictures.take(item), task, wanted, contribution=contribution)

        try:
            with start.dealt(pending, explainer.denoiser) as mine:
                start.each(mine, one, title=f"{task}s", unit="image")
        except QueryBudgetExceeded:
            if not any(item.explained for item in items):
                raise

    with start.saying_what_was_spent():
        start.together(announce)
        start.together(work)
    explained = [item for item in items if item.explained]
    spent, rows = start.spending.total(), rows_of(explained)
    if start.speaks:
        report(rows, out, task, start.spending, spent)
        say_disagreement(explained)
        say_what_is_lost(explained)
        say_what_is_left(items, len(explained), len(unreadable))
        try_to_write_page(out)
    return rows
