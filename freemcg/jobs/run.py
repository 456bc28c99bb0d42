"""A folder of images explained one after another, over the processes that Accelerate started.

Every finished image has a folder of its own, written whole: pictures, `receipt.safetensors` (what was asked and
answered), `record.json`, and last `result.safetensors`. So a job that was stopped goes on where it was, and a result
does not depend on the number of processes. A picture that is no longer what was explained is explained anew, and so is
one for which the budget of an earlier start did not reach.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import gather_object
from tqdm import tqdm

from freemcg.blackbox import QueryBudgetExceeded
from freemcg.explainer import FreeMCG
from freemcg.files.whole import naming
from freemcg.jobs.announce import Look, look_at
from freemcg.jobs.announce import announce as announce_job
from freemcg.jobs.items import list_items
from freemcg.jobs.made_with import check_made_with, digest_of_settings, job_settings, write_made_with
from freemcg.jobs.one import draw_missing, explain
from freemcg.jobs.plan import Task
from freemcg.jobs.processes import check_one_counts, together
from freemcg.jobs.report import report, rows_of, say_disagreement, say_what_is_left
from freemcg.jobs.spending import Spending
from freemcg.jobs.unchanged import check_unchanged, oldest_answer
from freemcg.messages.errors import InvalidValue
from freemcg.messages.terminal import say


def run_job(
    explainer: FreeMCG,
    images: Path,
    out: Path,
    *,
    task: Task,
    target: float | str | None = None,
    price_per_1000: float | None = None,
) -> list[dict[str, Any]]:
    """Explain every image, or what is missing of them; print a table and write `summary.csv` on the main process.

    Args:
        images: a picture, or a folder that is searched for pictures with its subfolders.
        out: image `a/b.png` goes to the folder `out/a/b`.
        target: class index or name; `None` explains each decision, or seeks the runner-up. Of values, what
            `FreeMCG.counterfactual` takes.
        price_per_1000: price of a thousand queries, in any currency; shown beside the queries.

    Returns:
        The rows of the table, of all images, on every process; fewer where the budget ended before. Each says whether
        its explanation is `unfinished`, since the budget cut it short.

    Raises:
        FileNotFoundError: there is no image.
        QueryBudgetExceeded: the budget did not reach for one image, and none was done before.
        ValueError: before the first query: no picture can be read, the class does not exist, or `out` holds results
            made with other settings. After it: the model answers otherwise than when they were made, or not as
            declared; finished images are kept.

    Pictures of a folder that cannot be read are named on the error stream and left out.

    Costs at most `most_queries` queries an image, and what `check_unchanged` does where some are done before.
    """
    state, spending = PartialState(), Spending(explainer.black_box, price_per_1000)
    check_one_counts(explainer.black_box, state)
    wanted = explainer.known_target(target, task)
    made_with = job_settings(explainer, task, wanted)
    items = list_items(images, out, digest_of_settings(made_with))
    pending = [item for item in items if not item.done]
    share = pending[state.process_index :: state.num_processes]
    looks = [Look()]

    def check() -> None:
        if state.is_main_process:
            check_made_with(out, made_with, [item.folder for item in items if item.of_others])
        looks[0] = look_at(explainer, share, alone=images.is_file())

    together(state, check)
    looks = gather_object(looks)
    unreadable = {name: why for look in looks for name, why in look.unreadable.items()}
    pending, share = ([item for item in each if item.name not in unreadable] for each in (pending, share))

    def announce() -> None:
        if not state.is_main_process:
            return
        if len(unreadable) == len(items):
            raise InvalidValue(f"no picture of {images} can be read; the first: {min(unreadable.values())}")
        if (then := oldest_answer(items)) is not None:
            check_unchanged(explainer.black_box, replace(then, image=then.image.to(explainer.denoiser.device)), out)
        with naming(out):
            out.mkdir(parents=True, exist_ok=True)
        write_made_with(out, made_with)
        announce_job(explainer, task, len(items), len(pending), looks, price_per_1000)
        if damaged := sum(item.damaged for item in pending):
            say(f"made again, since they are cut short or damaged: {damaged} of them", err=True)

    ended: QueryBudgetExceeded | None = None

    def work() -> None:
        nonlocal ended
        bar = tqdm(share, desc=f"{task}s", unit="image", disable=not state.is_main_process)
        with bar, spending.shown(bar):
            draw_missing(items[state.process_index :: state.num_processes], task)
            try:
                for item in bar:
                    explain(explainer, item, task, wanted)
            except QueryBudgetExceeded as error:
                ended = error

    with spending.said_if_broken_off(aloud=state.is_main_process):
        together(state, announce)
        together(state, work)
        explained = [item for item in items if item.explained]
        if ended is not None and not explained:
            raise ended
    spent, rows = spending.total(), rows_of(explained)
    if state.is_main_process:
        report(rows, out, task, spending, spent)
        say_disagreement(explained)
        say_what_is_left(items, len(explained), len(unreadable))
    return rows
