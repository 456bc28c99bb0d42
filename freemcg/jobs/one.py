"""Explain one picture, and write its receipt, record, result and figures."""

from __future__ import annotations

import json
from collections.abc import Sequence

from torch import Tensor
from tqdm import tqdm

from freemcg.explainer import FreeMCG
from freemcg.files.digest import digest_of
from freemcg.files.images import is_whole, write_image
from freemcg.files.whole import write_text
from freemcg.jobs.items import (
    CHANGED,
    CONTRIBUTION,
    CONTRIBUTION_FIGURE,
    FIGURE,
    RECEIPT,
    RECORD,
    RESULT,
    Item,
)
from freemcg.jobs.plan import Task, most_queries
from freemcg.jobs.rows import row_of
from freemcg.messages.errors import sentence_of
from freemcg.messages.terminal import say
from freemcg.results import Attribution, Counterfactual, Explanation, Status, load_result
from freemcg.show.figures import write_figure

PICTURES: dict[Task, tuple[str, ...]] = {"attribution": (FIGURE,), "counterfactual": (FIGURE, CHANGED)}


def explain(
    explainer: FreeMCG, item: Item, image: Tensor, task: Task, target: int | str | None, *, contribution: bool = False
) -> None:
    """Explain one picture, read as `image`; its result is saved last, and after it only what follows from it."""
    item.make_folder()
    before, picture = explainer.black_box.spent, item.picture
    with explainer.black_box.recording() as receipt:
        result = (explainer.explain if task == "attribution" else explainer.counterfactual)(image, target)
    row = row_of(result)
    spent = {name: count - before[name] for name, count in explainer.black_box.spent.items()}
    row = {"image": item.name, **row, "record": result.record, "spent": spent}
    row |= {"picture": picture, "made with": item.made_with}
    item.make_folder()  # again, since whatever ran meanwhile may have removed it
    row["unfinished"] = result.status == Status.BUDGET_EXHAUSTED and _fell_short(explainer, task, result)
    for path in (item.folder / name for name in (RESULT, FIGURE, CONTRIBUTION, CONTRIBUTION_FIGURE)):
        if not path.is_dir():
            path.unlink(missing_ok=True)
    receipt.save(item.folder / RECEIPT)
    write_text(item.folder / RECORD, json.dumps(row, indent=2) + "\n")
    result.save(item.folder / RESULT, {name: digest_of(item.folder / name) for name in (RECEIPT, RECORD)})
    _draw(result, item, contribution=contribution)
    if isinstance(result, Counterfactual) and explainer.settings.ask_path and _has_unasked_path(result):
        with tqdm.external_write_mode():
            say(f"{item.name}: its steps were not asked, since the budget had too few queries left", err=True)


def _has_unasked_path(result: Counterfactual) -> bool:
    return result.path_log_probabilities is None and result.status in (Status.COMPLETE, Status.NOT_FLIPPED)


def _draw(result: Explanation, item: Item, *, contribution: bool) -> None:
    """Write what follows from a saved result. Since the result was saved first, a figure that fails loses no answer.

    If a picture cannot be drawn, one line says so, and the next start tries again.
    """
    try:
        if isinstance(result, Counterfactual):
            write_image(result.image, item.folder / CHANGED)
        write_figure(result.plot(), item.folder / FIGURE)
        if contribution and isinstance(result, Attribution):
            added = result.contribution()
            added.save(item.folder / CONTRIBUTION)
            write_figure(added.plot(), item.folder / CONTRIBUTION_FIGURE)
    except Exception as error:
        with tqdm.external_write_mode():
            say(f"{item.name}: the figure could not be drawn ({sentence_of(error)}); the result is saved", err=True)


def draw_missing(items: Sequence[Item], task: Task, *, contribution: bool) -> None:
    """Write what is damaged, or missing beside a result since it was not asked for or an earlier start broke off."""
    for item in items:
        if item.done and not _is_drawn(item, task, contribution=contribution):
            _draw(load_result(item.folder / RESULT), item, contribution=contribution)


def _is_drawn(item: Item, task: Task, *, contribution: bool) -> bool:
    if contribution:
        try:
            Attribution.load(item.folder / CONTRIBUTION)
        except (OSError, ValueError):
            return False
    names = (*PICTURES[task], CONTRIBUTION_FIGURE) if contribution else PICTURES[task]
    return all(is_whole(item.folder / name) for name in names)


def _fell_short(explainer: FreeMCG, task: Task, result: Explanation) -> bool:
    """Whether the black box's budget ended before the image had the queries that its settings allow."""
    black_box = explainer.black_box
    meant = explainer.settings.model_copy(update={"search": result.record["settings"]["search"]})
    most = most_queries(type(explainer.settings)(**dict(meant)), task, may_change=black_box.may_change)
    return black_box.remaining is not None and black_box.remaining < most - result.queries
