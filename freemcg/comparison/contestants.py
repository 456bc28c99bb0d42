"""The methods of a comparison, by name, each with the settings with which it costs as much as the others."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from freemcg.blackbox import BlackBox
from freemcg.blackbox.local.white_box import WhiteBox, has_gradients
from freemcg.explainer import FreeMCG
from freemcg.jobs.plan import most_queries
from freemcg.messages.errors import InvalidValue
from freemcg.results import Status

FREEMCG, CONTRIBUTION = "freemcg", "freemcg_contribution"
OURS = (FREEMCG, CONTRIBUTION)
WITH_GRADIENTS = (
    FREEMCG,
    "gradient",
    "smooth_grad",
    "integrated_gradients",
    "guided_ig",
    "rise",
    "zeroth_order",
)
ASKING = (FREEMCG, "rise", "geex", "zeroth_order")


@dataclass(frozen=True)
class Contestant:
    """A method, ready to be called.

    Attributes:
        name: the name of the method.
        model: the model that it queries or differentiates. Other methods may share it.
        unit: the unit of its cost, `"queries"` or `"gradients"`.
        most: the most that an image costs, for a given target.
        attribute: maps images `(N, C, H, W)` and a target to maps; `None` if a package that it needs is missing.
        missing: says what is missing then, in one sentence.
    """

    name: str
    model: BlackBox | WhiteBox
    unit: str
    most: int
    attribute: Callable[[Tensor, int], Tensor] | None
    missing: str = ""

    @property
    def spent(self) -> int:
        """The cost so far, of all methods that share the model. An answer from a cache counts like a query."""
        return self.model.gradients if isinstance(self.model, WhiteBox) else self.model.known


def method_names(methods: Sequence[str] | None, black_box: BlackBox) -> tuple[str, ...]:
    """The named methods, each once. The default is a short list of methods that the model allows.

    Raises:
        ValueError: a method does not exist, or it differentiates and the model can only be queried.
    """
    from baselines.names import unknown  # noqa: PLC0415  (only a comparison needs the baselines)
    from baselines.registry import METHODS  # noqa: PLC0415

    open_ = has_gradients(black_box)
    if methods is None:
        return WITH_GRADIENTS if open_ else ASKING
    if not methods:
        raise InvalidValue(f"name at least one method; known are {', '.join((*OURS, *METHODS))}")
    for name in methods:
        if name not in (*OURS, *METHODS):
            raise unknown("method", name, (*OURS, *METHODS))
    closed = [name for name in methods if name not in OURS and METHODS[name].needs_weights]
    if closed and not open_:
        asking = [*OURS, *(name for name, method in METHODS.items() if not method.needs_weights)]
        raise InvalidValue(
            f"{', '.join(closed)} must differentiate a torch.nn.Module that answers logits, but this model can only be "
            f"queried; methods that only query are {', '.join(asking)}"
        )
    return tuple(dict.fromkeys(methods))


def make_contestants(names: Sequence[str], explainer: FreeMCG, given: dict[str, Any]) -> list[Contestant]:
    """Methods that may each cost as much as an attribution of `explainer`.

    Args:
        names: see `method_names`.
        explainer: takes part as `freemcg` with its maps, and as `freemcg_contribution` with their contributions. The
            others query its black box, or differentiate the network in it.
        given: arguments that some of the constructors take, such as `vae`. An argument that is `None` is left out.

    Raises:
        ValueError: the cost is too small for a method, or a method needs an argument that is not given.
    """
    from baselines import METHODS, create, settings_within  # noqa: PLC0415

    black_box, cost = explainer.black_box, most_queries(explainer.settings, "attribution")
    white_box = WhiteBox(black_box) if has_gradients(black_box) else None
    made = []
    for name in names:
        if name in OURS:
            most = most_queries(explainer.settings, "attribution", may_change=black_box.may_change)
            made.append(Contestant(name, black_box, "queries", most, _whole_maps(explainer, name)))
            continue
        settings, known = settings_within(name, cost), inspect.signature(METHODS[name]).parameters
        more = {key: value for key, value in given.items() if key in known and value is not None}
        model, unit = (white_box, "gradients") if white_box and METHODS[name].needs_weights else (black_box, "queries")
        attribute, missing = None, ""
        try:
            attribute = create(name, model, **settings, **more).attribute
        except ModuleNotFoundError as error:
            missing = str(error)
        except ValueError as error:
            raise InvalidValue(str(error) if name in str(error) else f"{name}: {error}") from None
        made.append(Contestant(name, model, unit, cost if settings else 1, attribute, missing))
    return made


def _whole_maps(explainer: FreeMCG, name: str) -> Callable[[Tensor, int], Tensor]:
    """The explainer's maps or contributions. A map for which retries left fewer queries than others have is refused."""

    def attribute(images: Tensor, target: int) -> Tensor:
        results = [explainer.explain(image, target) for image in images]
        cut_short = any(result.status == Status.BUDGET_EXHAUSTED for result in results)
        if cut_short and explainer.settings.tolerance is None:
            raise InvalidValue("the budget ended before the map was whole")
        if name == CONTRIBUTION:
            results = [result.contribution() for result in results]
        return torch.stack([result.values for result in results])

    return attribute
