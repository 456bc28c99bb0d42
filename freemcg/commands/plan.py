"""`freemcg plan`: the cost of a job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from freemcg.commands.contest import Contest
from freemcg.commands.options import Classifier, Config, Price
from freemcg.commands.searcher import Searcher
from freemcg.messages.errors import InvalidValue
from freemcg.messages.terminal import say

if TYPE_CHECKING:
    from freemcg.jobs.items import Item

EXAMPLES = (
    "freemcg plan photos/ --model endpoint.yaml --price-per-1000 1.50 --latency 0.2",
    "freemcg plan photos/ --task counterfactual --config paper --price-per-1000 1.50",
    "freemcg plan photos/ --task counterfactual --method pixel_search --model endpoint.yaml",
    "freemcg plan photos/ --task comparison --config freemcg --model endpoint.yaml --price-per-1000 1.50",
)
TASKS = ("attribution", "counterfactual", "comparison")
CHANGE_NO_PRICE = (
    "--condition",
    "--contribution",
    "--denoiser",
    "--device",
    "--dtype",
    "--guidance-scale",
    "--no-cache",
    "--null-class",
    "--prompt",
    "--seed",
    "--target",
)
"""Options of the verbs that are planned, which a plan need not know."""


def plan(
    classifier: Classifier,
    contest: Contest,
    searcher: Searcher,
    images: Annotated[
        Path | None,
        typer.Argument(
            help="A picture, or a folder of pictures. A comparison may leave them out, as 'compare' does.",
            show_default=False,
        ),
    ] = None,
    task: Annotated[
        str, typer.Option(help="attribution, counterfactual, or comparison (what 'compare' does).")
    ] = "attribution",
    config: Config = None,
    queries: Annotated[
        int | None,
        typer.Option(help="The most queries per explanation, as the verb of the task takes them."),
    ] = None,
    tolerance: Annotated[float | None, typer.Option(help="The tolerance, as 'attribute' takes it.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the results. Finished ones are left out.")] = None,
    latency: Annotated[float | None, typer.Option(help="Seconds for one answer, as 'probe' shows.")] = None,
    price_per_1000: Price = None,
) -> None:
    """Forecast the queries, time and price of a job.

    It costs nothing, since the classifier is not queried. --methods, --measures, --steps and --searched are those of
    'compare', --method, --references and --ask-path those of 'counterfactual'.
    """
    from freemcg.commands.prepare import settings
    from freemcg.jobs.plan import Task, describe_forecast, forecast
    from freemcg.settings import Settings, for_scores, make

    if task not in TASKS:
        raise InvalidValue(f"task must be {', '.join(TASKS[:-1])} or {TASKS[-1]}, got {task!r}")
    if tolerance is not None and task != "attribution":
        raise InvalidValue(f"--tolerance {tolerance:g} is for attributions; leave it out, or say --task attribution")
    if task != "counterfactual" and searcher.given:
        raise InvalidValue(
            f"{', '.join(searcher.given)}: for counterfactuals; leave it out, or say --task counterfactual"
        )
    if task == "comparison":
        _plan_comparison(classifier, contest, images, config, queries, out, latency, price_per_1000)
        return
    if contest.given:
        raise InvalidValue(f"{', '.join(contest.given)}: for comparisons; leave it out, or say --task comparison")
    if images is None:
        raise InvalidValue("name a picture or a folder of pictures")
    wanted: Task = "attribution" if task == "attribution" else "counterfactual"
    items, readable = _readable(images, out)
    black_box = classifier.load()
    if wanted == "attribution":
        values = settings(config, queries=queries, tolerance=tolerance)
    else:
        values = searcher.settings(config, queries)
    if searcher.is_ours:
        meant = make(Settings, for_scores(values, black_box.scores))
    else:
        from freemcg.comparison.searches import planned_search

        black_box, meant = planned_search(
            searcher.method,
            black_box,
            values,
            queries=queries,
            references=searcher.references,
            out=_out_of(images, out),
        )
    pending = [item for item in items if not item.done]
    found = forecast(
        black_box,
        meant,
        wanted,
        len(readable),
        done=len(items) - len(pending),
        latency=latency,
        price_per_1000=price_per_1000,
    )
    for line in describe_forecast(found):
        say(line)


def _plan_comparison(
    classifier: Classifier,
    contest: Contest,
    images: Path | None,
    config: str | None,
    queries: int | None,
    out: Path | None,
    latency: float | None,
    price_per_1000: float | None,
) -> None:
    from freemcg.commands.prepare import for_comparison
    from freemcg.comparison.cells import load_cell
    from freemcg.comparison.contestants import entries_of
    from freemcg.comparison.cost import Work, cost_of, describe_remaining, forecast_comparison, remaining
    from freemcg.comparison.measures import measure_names
    from freemcg.comparison.pictures import digit_names
    from freemcg.comparison.recipe import read_recipe
    from freemcg.comparison.side_by_side import calls_of_search
    from freemcg.jobs.plan import describe_forecast
    from freemcg.settings import Settings, make

    recipe = contest.over(read_recipe(config), queries)
    names = digit_names(recipe.images) if images is None else _readable(images, out)[1]
    black_box = for_comparison(classifier.load())
    entries, measures = entries_of(recipe.methods, black_box), measure_names(recipe.measures, black_box)
    own = make(Settings, {**recipe.settings, "queries": recipe.queries})
    costs = {entry.name: cost_of(entry, own, may_change=black_box.may_change) for entry in entries}
    kept = {(image, name): None if out is None else load_cell(out, image, name) for image in names for name in costs}
    left = remaining(kept, costs, measures, recipe.steps, black_box=black_box, decide=True)
    for search in recipe.searches if recipe.searched else ():
        left.searches += Work(tuple(calls_of_search(search, black_box))) * min(recipe.searched, len(names))
    found = forecast_comparison(left, len(names), black_box, latency=latency, price_per_1000=price_per_1000)
    for line in (*describe_forecast(found), *describe_remaining(left)):
        say(line)


def _readable(images: Path, out: Path | None) -> tuple[list[Item], list[str]]:
    """The pictures of a job, and the names of those that are not done and can be read. The others are said."""
    from freemcg.files.images import decode
    from freemcg.jobs.items import items_of
    from freemcg.jobs.listing import list_pictures
    from freemcg.jobs.unreadable import check_some_are_left, read_each, say_unreadable

    out = _out_of(images, out)
    listing = list_pictures(images, out)
    items = items_of(listing, out)
    pending = {item.name: item.image for item in items if not item.done}
    readable, unreadable = read_each(pending, lambda picture: decode(picture)[1], alone=listing.alone)
    check_some_are_left(listing, unreadable.values())
    say_unreadable(unreadable.values())
    return items, list(readable)


def _out_of(images: Path, out: Path | None) -> Path:
    """The folder of the results. Without one it is a folder that holds nothing."""
    return images.parent / "unwritten" if out is None else out
