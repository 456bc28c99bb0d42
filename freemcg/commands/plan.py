"""`freemcg plan`: the cost of a job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from freemcg.commands.options import Classifier, Config, Images, Price
from freemcg.messages.errors import InvalidValue
from freemcg.messages.terminal import say

EXAMPLES = (
    "freemcg plan photos/ --model endpoint.yaml --price-per-1000 1.50 --latency 0.2",
    "freemcg plan photos/ --task counterfactual --config paper --price-per-1000 1.50",
)


def plan(
    images: Images,
    classifier: Classifier,
    task: Annotated[str, typer.Option(help="attribution or counterfactual.")] = "attribution",
    config: Config = None,
    queries: Annotated[
        int | None,
        typer.Option(help="The most queries per explanation, as 'attribute' and 'counterfactual' take them."),
    ] = None,
    tolerance: Annotated[float | None, typer.Option(help="The tolerance, as 'attribute' takes it.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the results. Finished ones are left out.")] = None,
    latency: Annotated[float | None, typer.Option(help="Seconds for one answer, as 'probe' shows.")] = None,
    price_per_1000: Price = None,
) -> None:
    """Forecast the queries, time and price of a job.

    It costs nothing, since the classifier is not queried.
    """
    from freemcg.commands.prepare import search_settings, settings
    from freemcg.files.images import decode
    from freemcg.jobs.items import list_items
    from freemcg.jobs.plan import Task, describe_forecast, forecast
    from freemcg.jobs.unreadable import check_some_are_left, read_each, say_unreadable
    from freemcg.settings import Settings, for_scores, make

    if task not in ("attribution", "counterfactual"):
        raise InvalidValue(f"task must be attribution or counterfactual, got {task!r}")
    items = list_items(images, images.parent / "unwritten" if out is None else out)
    pending = [item for item in items if not item.done]
    readable, unreadable = read_each(pending, lambda picture: decode(picture)[1], alone=images.is_file())
    check_some_are_left(images, items, unreadable.values())
    say_unreadable(unreadable.values())
    black_box = classifier.load()
    wanted: Task = "attribution" if task == "attribution" else "counterfactual"
    if tolerance is not None and wanted == "counterfactual":
        raise InvalidValue(f"--tolerance {tolerance:g} is for attributions; leave it out, or say --task attribution")
    own = settings(config, queries=queries, tolerance=tolerance) if wanted == "attribution" else None
    values = search_settings(config, queries) if own is None else own
    meant = make(Settings, for_scores(values, black_box.scores))
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
