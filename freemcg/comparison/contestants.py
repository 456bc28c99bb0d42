"""The methods of a comparison, by name, each with the settings with which it costs as much as the others."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from freemcg.blackbox import BlackBox
from freemcg.blackbox.cache import image_key
from freemcg.blackbox.local.white_box import WhiteBox, has_gradients
from freemcg.comparison.cost import Work, cost_of, settings_of
from freemcg.comparison.other_names import unknown_method
from freemcg.comparison.own_score import Added, added_by
from freemcg.comparison.recipe import FREEMCG, OURS, SMOOTHED, Entry, as_entry
from freemcg.evaluation.blur import gaussian_blur
from freemcg.explainer import FreeMCG
from freemcg.jobs.plan import most_queries
from freemcg.messages.errors import InvalidValue
from freemcg.results import Status

SMOOTHING = 1.0
"""The standard deviation, in pixels, of the blur of a smoothed contribution."""
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
DATA_MEAN = "data_mean"
NEEDED = {
    "vae": "a VAE of such images: give --vae FOLDER, which freemcg train vae writes",
    "references": "other images of this kind: give --references FOLDER",
}


@dataclass(frozen=True)
class Contestant:
    """A method, ready to be called.

    Attributes:
        name: its label in tables.
        model: the model that it queries or differentiates. Other methods may share it.
        most: the most that an image costs, for a given target.
        attribute: maps images `(N, C, H, W)` and a target to maps; `None` if a package that it needs is missing.
        missing: says what is missing then, in one sentence.
        added: see `freemcg.comparison.own_score`.
    """

    name: str
    model: BlackBox | WhiteBox
    most: Work
    attribute: Callable[[Tensor, int], Tensor] | None
    missing: str = ""
    added: Added | None = None

    @property
    def unit(self) -> str:
        """The unit of its cost, `"queries"` or `"gradients"`."""
        return "gradients" if isinstance(self.model, WhiteBox) else "queries"

    @property
    def spent(self) -> int:
        """The cost so far, of all methods that share the model. An answer from a cache counts like a query."""
        return self.model.gradients if isinstance(self.model, WhiteBox) else self.model.known


def entries_of(methods: Sequence[str | Entry] | None, black_box: BlackBox) -> tuple[Entry, ...]:
    """The methods that take part, each once. The default is a short list of methods that the model allows.

    Raises:
        ValueError: a method does not exist, two have the same label, or one differentiates and the model can only be
            queried.
    """
    from baselines.registry import METHODS  # noqa: PLC0415  (only a comparison needs the baselines)

    open_ = has_gradients(black_box)
    if methods is None:
        methods = WITH_GRADIENTS if open_ else ASKING
    if not methods:
        raise InvalidValue(f"name at least one method; known are {', '.join((*OURS, *METHODS))}")
    found: dict[str, Entry] = {}
    for entry in map(as_entry, methods):
        if entry.method not in (*OURS, *METHODS):
            raise unknown_method(entry.method, (*OURS, *METHODS))
        if found.setdefault(entry.name, entry) != entry:
            raise InvalidValue(f"two methods are called {entry.name!r}; give one of them another label")
    differentiating = [entry.name for entry in found.values() if not entry.ours and METHODS[entry.method].needs_weights]
    if differentiating and not open_:
        asking = [*OURS, *(name for name, method in METHODS.items() if not method.needs_weights)]
        raise InvalidValue(
            f"{', '.join(differentiating)} must differentiate a torch.nn.Module that answers logits, but this model "
            f"can only be queried; methods that only query are {', '.join(asking)}"
        )
    return tuple(found.values())


def make_contestants(entries: Sequence[Entry], explainer: FreeMCG, given: dict[str, Any]) -> list[Contestant]:
    """Methods that may each cost as much as an attribution of `explainer`, unless an entry says otherwise.

    Args:
        entries: see `entries_of`.
        explainer: takes part as `freemcg` with its maps, as `freemcg_contribution` with their contributions, and as
            `freemcg_contribution_smoothed` with these blurred by one pixel. The others query its black box, or
            differentiate the network in it.
        given: arguments that some of the constructors take, such as `vae`. An argument that is `None` is left out.

    Raises:
        ValueError: the cost is too small for a method, a setting is wrong, or a method needs an argument that is not
            given.
    """
    white_box = WhiteBox(explainer.black_box) if has_gradients(explainer.black_box) else None
    return [
        _ours(entry, explainer) if entry.ours else _baseline(entry, explainer, white_box, given) for entry in entries
    ]


def _ours(entry: Entry, explainer: FreeMCG) -> Contestant:
    black_box, own = explainer.black_box, settings_of(entry, explainer.settings)
    if entry.changes:
        explainer = FreeMCG(black_box, explainer.denoiser, **own.named)
    most = cost_of(entry, explainer.settings, may_change=black_box.may_change)
    return Contestant(entry.name, black_box, most, _whole_maps(explainer, entry.method))


def _baseline(entry: Entry, explainer: FreeMCG, white_box: WhiteBox | None, given: dict[str, Any]) -> Contestant:
    from baselines import METHODS, create, settings_within  # noqa: PLC0415

    name, black_box = entry.method, explainer.black_box
    settings = settings_within(name, entry.cost or most_queries(explainer.settings, "attribution"))
    known = inspect.signature(METHODS[name]).parameters
    for setting in entry.settings:
        if setting in settings:
            raise InvalidValue(f"{entry.name}: {setting} follows from the cost; write cost instead")
    for setting, words in NEEDED.items():
        if setting in known and known[setting].default is inspect.Parameter.empty and given.get(setting) is None:
            raise InvalidValue(f"{entry.name} needs {words}")
    more = {key: value for key, value in given.items() if key in known and value is not None}
    more |= _with_data_mean(entry, given)
    model = white_box if white_box and METHODS[name].needs_weights else black_box
    attribute, missing, added = None, "", None
    try:
        method = create(name, model, **settings, **more)
        attribute, added = method.attribute, added_by(method)
    except ModuleNotFoundError as error:
        missing = str(error)
    except TypeError as error:
        raise InvalidValue(f"{entry.name}: {name} does not take the settings {entry.settings}: {error}") from None
    except ValueError as error:
        raise InvalidValue(str(error) if entry.name in str(error) else f"{entry.name}: {error}") from None
    return Contestant(entry.name, model, cost_of(entry, explainer.settings), attribute, missing, added)


def _with_data_mean(entry: Entry, given: dict[str, Any]) -> dict[str, Any]:
    """The settings of an entry. The base-point `data_mean` becomes the mean of the reference images."""
    if entry.settings.get("base") != DATA_MEAN:
        return entry.settings
    from baselines.base_points import FromDataset  # noqa: PLC0415

    references = given.get("references")
    if references is None:
        raise InvalidValue(f"{entry.name}: the base-point {DATA_MEAN} needs {NEEDED['references']}")
    return {**entry.settings, "base": FromDataset(references.mean(dim=0, keepdim=True))}


def changes_of(entry: Entry, references: Tensor | None) -> dict[str, Any]:
    """What the maps of an entry depend on beyond the settings of the comparison. If it takes references, also those."""
    from baselines.registry import METHODS  # noqa: PLC0415

    takes = not entry.ours and "references" in inspect.signature(METHODS[entry.method]).parameters
    if references is None or not (takes or entry.settings.get("base") == DATA_MEAN):
        return entry.changes
    return {**entry.changes, "references": image_key(references).hex()}


def _whole_maps(explainer: FreeMCG, name: str) -> Callable[[Tensor, int], Tensor]:
    """The explainer's maps or contributions. A map for which retries left fewer queries than others have is refused."""

    def attribute(images: Tensor, target: int) -> Tensor:
        results = [explainer.explain(image, target) for image in images]
        cut_short = any(result.status == Status.BUDGET_EXHAUSTED for result in results)
        if cut_short and explainer.settings.tolerance is None:
            raise InvalidValue("the budget ended before the map was whole")
        if name != FREEMCG:
            results = [result.contribution() for result in results]
        values = torch.stack([result.values for result in results])
        return gaussian_blur(values, SMOOTHING) if name == SMOOTHED else values

    return attribute
