"""The most that a job will cost, before it starts."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

from freemcg.blackbox.repeats import MOST_REPEATS
from freemcg.blackbox.scores import VALUE
from freemcg.messages.arguments import real
from freemcg.messages.errors import InvalidValue
from freemcg.settings import Settings, SharedSearch
from freemcg.tasks.attribution import calls_of_a_map
from freemcg.tasks.between import MOST as MOST_TO_TAKE_BACK

if TYPE_CHECKING:
    from freemcg.blackbox import BlackBox

Task = Literal["attribution", "counterfactual"]

DAY = 86_400.0  # seconds
FEW_DIRECTIONS = "have few directions, as digits and X-rays do"
LEAST_PRICE = 1e-6  # a choice of ours: below it a price is a slip of the keyboard


@dataclass(frozen=True)
class Forecast:
    """The most that a job costs, if nothing has to be sent again and no batch is halved.

    Attributes:
        images: the images to explain.
        queries: the queries of all images.
        requests: the messages or calls that carry the queries.
        seconds: the time of the black box, from its latency and its rate limit. `None` if neither is known.
        price: the price of the queries. `None` if no price was given.
        queries_if_few: the queries of all images if around each there are few directions, see `freemcg.tasks.settling`.
            `None` if that makes no difference.
    """

    images: int
    queries: int
    requests: int
    seconds: float | None
    price: float | None
    queries_if_few: int | None = None


def budget_in_queries(budget: str, price_per_1000: float | None) -> int:
    """The queries that a budget pays for: `"500"` is a number of queries, `"2.50usd"` an amount of money.

    The currency is three letters, those of the price; nothing is converted.

    Raises:
        ValueError: the budget is neither, or it is money and there is no price.
    """
    check_price(price_per_1000)
    found = re.fullmatch(r"(\d{1,18})|(\d{1,18}(?:\.\d{1,18})?) ?[A-Za-z]{3}", budget.strip())
    if found is None:
        raise InvalidValue(f"budget is a number of queries (500) or an amount of money (2.50usd), got {budget!r}")
    if found[1]:
        return int(found[1])
    if not price_per_1000:
        raise InvalidValue(f"a budget of money needs the price: --price-per-1000 above 0, with --budget {budget}")
    return Fraction(found[2]) * 1000 // Fraction(str(price_per_1000))


def check_price(price_per_1000: float | None) -> None:
    """Refuse a number that is no price.

    Raises:
        ValueError: it is negative, NaN, infinite, or so small that it would pay for anything.
    """
    if price_per_1000 is not None and price_per_1000 != 0 and not LEAST_PRICE <= price_per_1000 < math.inf:
        raise InvalidValue(
            f"--price-per-1000 must be 0, or finite and at least {LEAST_PRICE:f}, got {price_per_1000:g}"
        )


def calls(settings: Settings, task: Task, *, scores: str = "logits", may_change: bool = False) -> list[int]:
    """The most queries of an image, one number for each call of the black box that the next has to wait for.

    Args:
        scores: what the black box answers. The defaults of a search depend on it.
        may_change: whether the black box may change. If so, the image is asked again at the end.
    """
    again = [1, MOST_REPEATS - 1] if may_change else []
    if task == "attribution":
        return [*calls_of_a_map(settings), *again]
    path = [_frames(settings, scores)] if settings.ask_path else []
    return [*settings.search.dearest(scores).calls, *path, *[1] * _taken_back(scores), *again]


def most_queries(settings: Settings, task: Task, *, scores: str = "logits", may_change: bool = False) -> int:
    """The most queries that an image costs: the sum of `calls`, or the bound of a search with any target."""
    if task == "counterfactual":
        path = _frames(settings, scores) if settings.ask_path else 0
        again = MOST_REPEATS if may_change else 0
        return settings.search.dearest(scores).queries + path + _taken_back(scores) + again
    return sum(calls(settings, task, may_change=may_change))


def _frames(settings: Settings, scores: str) -> int:
    """The most steps of a path, whatever kind of image it is of."""
    search = settings.search
    return max(each.frames for each in (search.kinds(scores) if isinstance(search, SharedSearch) else [search]))


def _taken_back(scores: str) -> int:
    """The most queries that take an answer back to the number that was to be reached."""
    return MOST_TO_TAKE_BACK if scores == VALUE else 0


def with_few_directions(settings: Settings, scores: str) -> Settings:
    """The settings that hold for an image around which there are few directions; see `freemcg.tasks.settling`."""
    search = settings.search
    few = search.settled(0, scores) if isinstance(search, SharedSearch) else search
    return settings.model_copy(update={"search": few})


def most_by_directions(settings: Settings, task: Task, black_box: BlackBox) -> tuple[int, int]:
    """The most queries of an image, and of one around which there are few directions."""
    each, if_few = (
        most_queries(meant, task, scores=black_box.scores, may_change=black_box.may_change)
        for meant in (settings, with_few_directions(settings, black_box.scores))
    )
    return each, if_few


def forecast(
    black_box: BlackBox,
    settings: Settings,
    task: Task,
    images: int,
    *,
    done: int = 0,
    latency: float | None = None,
    price_per_1000: float | None = None,
) -> Forecast:
    """The most that it costs to explain `images` images. This asks nothing.

    Args:
        done: the number of images that are explained already. One of them may be asked again, see
            `freemcg.jobs.unchanged`.
        latency: the seconds until a request is answered. `freemcg probe` shows them.
        price_per_1000: the price of a thousand queries.

    Raises:
        ValueError: the latency is not in 0..86400, a day.
    """
    again = asked_again(black_box) if done else []
    most, few = (images * each + sum(again) for each in most_by_directions(settings, task, black_box))
    each_image = calls(settings, task, scores=black_box.scores, may_change=black_box.may_change)
    requests, seconds = carried(black_box, [(images, each_image), (1, again)], latency)
    price = None if price_per_1000 is None else most * price_per_1000 / 1000
    return Forecast(images, most, requests, seconds, price, few if few < most else None)


def asked_again(black_box: BlackBox) -> list[int]:
    """The most queries, by call, that tell whether a model still answers as an earlier start found it."""
    return [] if black_box.identity_is_whole else [1, MOST_REPEATS - 1]


def carried(
    black_box: BlackBox, asked: Sequence[tuple[int, Sequence[int]]], latency: float | None
) -> tuple[int, float | None]:
    """The most requests that carry some calls, and their seconds, `None` if neither latency nor rate limit is known.

    Args:
        asked: how often, and the queries of each call that the next has to wait for.
        latency: the seconds until a request is answered.

    Raises:
        ValueError: the latency is not in 0..86400, a day.
    """
    latency = None if latency is None else real("--latency", latency, 0, DAY)
    transport = getattr(black_box.predict, "transport", None)
    batch, together = (black_box.batch_size, 1) if transport is None else (transport.batch_size, transport.concurrency)
    spacing = 0.0 if transport is None else transport.spacing
    sent, seconds = 0, 0.0
    for times, each_call in asked:
        requests = [math.ceil(each / batch) for each in each_call]
        waited = sum(math.ceil(each / together) for each in requests) * (latency or 0)
        sent += times * sum(requests)
        seconds += times * max(waited, sum(requests) * spacing)
    return sent, seconds if latency is not None or spacing > 0 else None


def describe_forecast(found: Forecast) -> list[str]:
    """A forecast as lines of text."""
    lines = [f"images: {found.images}", f"queries: at most {found.queries}, in {found.requests} requests"]
    if found.queries_if_few is not None:
        lines.append(f"queries: at most {found.queries_if_few}, if the pictures {FEW_DIRECTIONS}")
    if found.seconds is not None:
        lines.append(f"seconds: at most {found.seconds:.0f} of the classifier, beside those of the diffusion model")
    if found.price is not None:
        lines.append(f"price: at most {found.price:.2f}, and more where something has to be sent again")
    return lines
