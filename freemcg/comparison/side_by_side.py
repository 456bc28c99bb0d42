"""The searches of a recipe: each finds counterfactuals of the same pictures, which are then measured side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from accelerate import PartialState
from torch import Tensor

from freemcg.blackbox import BlackBox
from freemcg.comparison.counterfactuals import measure_sides, read_sides
from freemcg.comparison.page import TABLE, try_to_write_comparison_page
from freemcg.comparison.recipe import FREEMCG, PICTURES, Recipe, Search
from freemcg.comparison.searches import other_search, planned_search
from freemcg.comparison.sides_report import SEARCHED, print_sides, write_sides
from freemcg.diffusion.denoiser import Denoiser
from freemcg.explainer import FreeMCG
from freemcg.files.images import write_image
from freemcg.jobs.listing import Listing
from freemcg.jobs.made_with import check_made_with, job_settings
from freemcg.jobs.plan import Task, calls, most_queries
from freemcg.jobs.processes import together
from freemcg.jobs.run import run_job
from freemcg.messages.terminal import say
from freemcg.settings import Settings, for_scores, make

TASK: Task = "counterfactual"


@dataclass(frozen=True)
class Searcher:
    """A search, ready to be called, by its label."""

    name: str
    explainer: FreeMCG


def searchers_of(recipe: Recipe, black_box: BlackBox, denoiser: Denoiser, out: Path, *, seed: int) -> list[Searcher]:
    """The searches of a recipe, if any picture is searched. They ask the same black box. This asks nothing.

    Raises:
        ValueError: one has a wrong setting, or must differentiate a model that can only be queried.
    """
    made: list[Searcher] = []
    for each in recipe.searches if recipe.searched else ():
        settings = {"seed": seed, **each.settings}
        make_one: Callable[[BlackBox, Denoiser], FreeMCG] = partial(FreeMCG, **settings)
        if each.method != FREEMCG:
            make_one = other_search(each.method, settings, queries=None, references=None, out=out)
        made.append(Searcher(each.name, make_one(black_box, denoiser)))
    return made


def calls_of_search(search: Search, black_box: BlackBox) -> list[int]:
    """The most queries in each call for a counterfactual by a search of a recipe, in all as many as `most_queries`."""
    if search.method == FREEMCG:
        settings = make(Settings, for_scores(search.settings, black_box.scores))
    else:
        black_box, settings = planned_search(
            search.method, black_box, search.settings, queries=None, references=None, out=Path()
        )
    kind: dict[str, Any] = {"scores": black_box.scores, "may_change": black_box.may_change}
    found = calls(settings, TASK, **kind)
    return found + [1] * (most_queries(settings, TASK, **kind) - sum(found))


def announce_searches(searchers: Sequence[Searcher], images: int, out: Path, target: int | str | None) -> None:
    """Refuse, before anything is asked, what a search would refuse after the maps. Then say the most that each costs.

    Raises:
        ValueError: a search needs a target, has too few queries to look for a runner-up, or its folder holds results
            made with other settings.
    """
    state = PartialState()

    def check() -> None:
        for each in searchers:
            wanted = each.explainer.known_target(target, TASK)
            if state.is_main_process:
                check_made_with(out / SEARCHED / each.name, job_settings(each.explainer, TASK, wanted), [])

    together(state, check)
    for each in searchers if state.is_main_process else ():
        box = each.explainer.black_box
        most = most_queries(each.explainer.settings, TASK, scores=box.scores, may_change=box.may_change)
        say(f"then counterfactuals of {images} by {each.name}: at most {most} queries each", err=True)


def compare_searches(
    searchers: Sequence[Searcher],
    images: Mapping[str, Tensor],
    out: Path,
    *,
    target: int | str | None = None,
    price_per_1000: float | None = None,
) -> bool:
    """Find the counterfactuals that are missing, and measure all. Print a table, and write the figures as CSV.

    The pictures, the results of each search, and the tables lie in `out/counterfactuals`. A search is a job as
    `freemcg.jobs.run` does it: it resumes, and finished counterfactuals are not searched for again.

    Args:
        images: `(C, H, W)` in [0, 1] each, by name. They are asked as 8-bit files hold them.
        target: class index or name; `None` seeks each runner-up.
        price_per_1000: the price of a thousand queries, in any currency.

    Returns:
        Whether every search explained every picture, without being cut short by the budget; on every process.

    Raises:
        QueryBudgetExceeded: the budget was too small for the first counterfactual of a search.
        ValueError: the folder holds results made with other settings.
    """
    if not searchers:
        return True
    folder, state, whole = out / SEARCHED, PartialState(), True
    files = {f"{name}.png": folder / PICTURES / f"{name}.png" for name in images}

    def write_pictures() -> None:
        for image, path in zip(images.values(), files.values(), strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(image, path)

    together(state, write_pictures if state.is_main_process else lambda: None)
    listing = Listing(folder / PICTURES, files, alone=False)
    for each in searchers:
        if state.is_main_process:
            say("", f"counterfactuals by {each.name}")
        place = folder / each.name
        rows = run_job(each.explainer, listing, place, task=TASK, target=target, price_per_1000=price_per_1000)
        whole = whole and len(rows) == len(images) and not any(row["unfinished"] for row in rows)
    if state.is_main_process:
        found, _ = read_sides([folder / each.name for each in searchers])
        sides = {Path(name).name: {i: side[i] for i in images if i in side} for name, side in found.items()}
        common = len(sides[searchers[0].name])
        if common:
            say("", "counterfactuals")
            measured = measure_sides(sides, len(images) - common)
            print_sides(measured)
            write_sides(measured, folder)
            if (out / TABLE).is_file():
                try_to_write_comparison_page(out)
    return whole
