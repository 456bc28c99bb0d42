"""Other searches for counterfactuals, by name, run and recorded as FreeMCG's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from freemcg.blackbox import BlackBox
from freemcg.blackbox.cache import image_key
from freemcg.blackbox.local.white_box import WhiteBox, has_gradients
from freemcg.blackbox.scores import MULTI_LABEL, VALUE
from freemcg.comparison.labels import check_covered, described, labels_of
from freemcg.comparison.pictures import names_of_references, read_references
from freemcg.diffusion.denoiser import Denoiser
from freemcg.explainer import FreeMCG
from freemcg.messages.errors import InvalidValue
from freemcg.messages.terminal import say
from freemcg.results import Counterfactual
from freemcg.settings import Settings, SharedSearch, for_scores, make


class OtherSearch(BaseModel):
    """The settings of another search: its name, the most that it costs an image, and what it takes besides."""

    model_config = ConfigDict(frozen=True, extra="allow")

    method: str
    queries: int

    def dearest(self, scores: str = "logits") -> OtherSearch:
        """The same search. It may cost as much for every image."""
        return self

    @property
    def calls(self) -> list[int]:
        """The most queries in each call of the black box: one, as if each had to wait for the one before."""
        return [1] * self.queries

    @property
    def frames(self) -> int:
        """The most queries that the path of a counterfactual costs with `ask_path`: one for each step."""
        return int((self.model_extra or {}).get("steps", 0))


class OtherSettings(Settings):
    """The settings of FreeMCG, with another search."""

    search: OtherSearch  # type: ignore[assignment]


class WithOtherSearch(FreeMCG):
    """FreeMCG, but another method finds the counterfactuals of classes.

    Args:
        black_box: the classifier. A method that needs weights asks a black box of its own, with the same identity.
        denoiser: the diffusion model.
        method: one of `baselines.registry.SEARCHES`. It wants the confidence of FreeMCG's search.
        settings: those of FreeMCG. The seed counts, `ask_path`, and the search, which `diffusion_guided` does with true
            gradients. Of it, `dvce` takes the steps that somebody named.
        queries: the most that a counterfactual may cost; `None` is the method's own default.
        references: images `(M, C, H, W)` that `nearest_image` chooses from.
        labels: the class index of each reference. Then only those of the target are asked.

    Raises:
        ValueError: the classifier answers no classes, can only be queried and the method needs weights, or the method
            does not take an argument or lacks one. Of these, `ask_path` is for `diffusion_guided` alone.
    """

    def __init__(
        self,
        black_box: BlackBox,
        denoiser: Denoiser,
        method: str,
        settings: dict[str, Any],
        *,
        queries: int | None = None,
        references: Tensor | None = None,
        labels: list[int] | None = None,
    ) -> None:
        from baselines.registry import SEARCHES  # noqa: PLC0415  (only a comparison needs the baselines)

        kind, black_box = SEARCHES[method], _asked_by(method, black_box, queries)
        super().__init__(black_box, denoiser, **settings)
        seed, search = self.settings.seed, _shared(method, self.settings)
        taken = _sizes(method, search, queries)
        if self.settings.ask_path and "search" not in taken:
            raise InvalidValue(f"ask_path is for freemcg or diffusion_guided, got {method}; leave it out")
        taken |= {} if references is None else {"images": references, "labels": labels}
        taken |= {} if "search" in taken else {"confidence": search.settled(0, black_box.scores).confidence}
        model: Any = black_box.predict if kind.needs_weights else black_box
        self._method = kind(model, denoiser, seed=seed, **taken)
        self._method.black_box, self._method.ask_path = black_box, self.settings.ask_path
        self._labels = labels
        told = self._method.settings
        told |= told.pop("search", {}) | {"method": method, "queries": self._method.most}
        told |= {"open": search.left_open} if "search" in taken and search.left_open else {}
        told |= {} if references is None else {"images": image_key(references).hex()}
        told |= {} if labels is None else {"labels": image_key(torch.tensor(labels)).hex()}
        other = {name: value for name, value in told.items() if name not in ("objective", "seed")}
        self.settings = OtherSettings(search=OtherSearch(**other), ask_path=self.settings.ask_path, seed=seed)

    def counterfactual(self, image: Tensor, target: float | str | None = None) -> Counterfactual:
        """An image that the method finds. It costs at most `settings.search.queries`, and `ask_path` its steps."""
        result = self._method.counterfactual(image, self.known_target(target, "counterfactual"))
        meant = dict(self.settings.search)
        meant.pop("open", None)
        own = {"method": meant["method"], "queries": meant["queries"]}
        search = OtherSearch(**{**meant, **result.record["settings"].get("search", {}), **own})
        settings = self.settings.model_copy(update={"search": search})
        more = {"settings": settings.record(), "target_named": target is not None}
        return replace(result, record={**result.record, **more})

    def known_target(self, target: float | str | None, task: str) -> int | str | None:
        """The index of the class.

        Raises:
            ValueError: there is no such class, a model that answers only labels hides its runner-up, or the references
                lie in folders of classes, and there is none for what may be the target.
        """
        if target is None and self.black_box.scores == "label":
            raise InvalidValue("a model that answers only a label hides its runner-up; name the class with --target")
        wanted = super().known_target(target, task)
        if self._labels is not None:
            check_covered(self._labels, None if wanted is None else int(wanted), self.black_box)
        return wanted


class _Open(WhiteBox):
    """A white box with the name of the black box around it."""

    identity: str

    def __init__(self, black_box: BlackBox) -> None:
        super().__init__(black_box)
        self.identity = black_box.identity


def _asked_by(method: str, black_box: BlackBox, queries: int | None) -> BlackBox:
    """The black box that a method asks. If it takes gradients, it is another around the same classifier.

    Raises:
        ValueError: the classifier answers no classes, or can only be queried and the method needs weights.
    """
    from baselines.registry import SEARCHES  # noqa: PLC0415

    if black_box.scores in (*MULTI_LABEL, VALUE):
        raise InvalidValue(f"--method {method} searches for classes, and this model answers {black_box.scores}")
    return _open(black_box, method, queries) if SEARCHES[method].needs_weights else black_box


def _open(black_box: BlackBox, method: str, queries: int | None) -> BlackBox:
    """The same classifier as a black box around a differentiable map from images in [0, 1] to logits."""
    if not has_gradients(black_box):
        raise InvalidValue(
            f"--method {method} must differentiate a torch.nn.Module that answers logits, but this model can only be "
            "queried; pixel_search and nearest_image only query"
        )
    for option, given in (("budget", black_box.budget), ("queries", queries)):
        if given is not None:
            raise InvalidValue(f"--method {method} takes gradients, which --{option} does not bound; leave it out")
    return BlackBox(
        _Open(black_box),
        num_classes=black_box.num_classes,
        class_names=black_box.class_names,
        batch_size=black_box.batch_size,
        may_change=black_box.may_change or not black_box.identity_is_whole,
        cache=black_box.cache,
    )


def _shared(method: str, settings: Settings) -> SharedSearch:
    """The search of FreeMCG whose confidence a method wants, or which it does with true gradients."""
    if not isinstance(settings.search, SharedSearch):
        raise InvalidValue(f"--method {method} has no {settings.search.method} search; leave out search.method")
    return settings.search


def _sizes(method: str, search: SharedSearch, queries: int | None) -> dict[str, Any]:
    """The arguments of a method that decide what it costs."""
    if method == "diffusion_guided":
        return {"search": search.named}
    if method == "dvce":
        return {name: value for name, value in search.named.items() if name == "steps"}
    return {} if queries is None else {"queries": queries}


def _check_named(method: str, references: Path | None) -> None:
    """Refuse a name that no method has, and `nearest_image` without the folder of references.

    Raises:
        ValueError: it is so.
    """
    from baselines.names import unknown  # noqa: PLC0415
    from baselines.registry import SEARCHES  # noqa: PLC0415

    if method not in SEARCHES:
        raise unknown("method", method, ("freemcg", *SEARCHES))
    if method == "nearest_image" and references is None:
        raise InvalidValue("--method nearest_image chooses among known pictures; give --references FOLDER")


def other_search(
    method: str, settings: dict[str, Any], *, queries: int | None, references: Path | None, out: Path
) -> Callable[[BlackBox, Denoiser], FreeMCG]:
    """What makes the explainer of a method from the two models.

    Args:
        settings: those of FreeMCG, see `WithOtherSearch`.
        references: the folder of images for `nearest_image`. Those in `out`, the folder of the results, are left out.
            If each lies in a folder with the name or index of a class, only those of the target are asked.

    Raises:
        ValueError: there is no such method, or it lacks the references.
    """
    _check_named(method, references)

    def made(black_box: BlackBox, denoiser: Denoiser) -> FreeMCG:
        if references is None:
            return WithOtherSearch(black_box, denoiser, method, settings, queries=queries)
        names, known = read_references(references, out, denoiser)
        labels = labels_of(names, black_box)
        if PartialState().is_main_process:
            say(described(labels, len(names)), err=True)
        return WithOtherSearch(black_box, denoiser, method, settings, queries=queries, references=known, labels=labels)

    return made


def planned_search(
    method: str,
    black_box: BlackBox,
    settings: dict[str, Any],
    *,
    queries: int | None,
    references: Path | None,
    out: Path,
) -> tuple[BlackBox, OtherSettings]:
    """The black box that a method asks, and its settings with the most that it costs. This needs no denoiser.

    The arguments are those of `other_search`, and what that refuses is refused, but for what only the denoiser tells.
    """
    from baselines.registry import SEARCHES  # noqa: PLC0415

    _check_named(method, references)
    black_box = _asked_by(method, black_box, queries)
    own = make(Settings, for_scores(settings, black_box.scores))
    search = _shared(method, own)
    sizes = _sizes(method, search, queries)
    if references is not None:
        names = names_of_references(references, out)
        labels = labels_of(names, black_box)
        say(described(labels, len(names)), err=True)
        sizes |= {"images": len(names), "labels": labels}
    most = SEARCHES[method].most_of(**sizes)
    planned = OtherSearch(method=method, queries=most, steps=search.steps)
    return black_box, OtherSettings(search=planned, ask_path=own.ask_path, seed=own.seed)
