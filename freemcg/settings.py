"""The settings of an explanation. Every key must be known, and every value is checked. An error is one sentence."""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from freemcg.messages.arguments import plain
from freemcg.messages.errors import InvalidValue

ESTIMATES = ("control_variate", "sigma_points", "cross_covariance", "regression", "per_particle")
WITH_ERROR_PARTS = ("control_variate", "cross_covariance")
OBJECTIVES = ("log_odds", "log_probability", "logit", "margin")
Model = TypeVar("Model", bound=BaseModel)


class SharedSearch(BaseModel):
    """The counterfactual search of this package. A few particles share one gradient, which is renewed every few steps.

    `queries` bounds the whole search. One query is for the image. Up to `checks` are for candidates at the end: the
    nearest comes first, and the first good one ends the search. The gradients share the rest evenly. If a black box
    answers only its top classes or a bare label, other defaults hold: see `SEARCHES_BY_SCORES`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["shared"] = "shared"
    queries: int = Field(50, ge=1, description="the most queries for one counterfactual, the image's own included")
    particles: int = Field(8, ge=1, description="candidates that are guided")
    strength: float = Field(0.6, gt=0, le=1, description="noise level of the start, as a fraction of the schedule")
    steps: int = Field(24, ge=2, description="steps of the reverse diffusion")
    eta: float = Field(1.0, ge=0, le=1, description="fresh noise per step: 0 is DDIM, 1 is DDPM")
    guidance: float = Field(0.12, ge=0, description="size of a guiding step, relative to the predicted noise")
    spread: float = Field(
        1.8, ge=1, description="ratio of the largest guidance to the mean, and of the mean to the smallest"
    )
    proximity: float = Field(0.03, ge=0, description="size of the pull to the input, relative to the predicted noise")
    refresh: int = Field(6, ge=1, description="steps that use the same estimated gradient")
    unpaid: int = Field(64, ge=2, description="particles drawn for each estimated gradient; they cost no query")
    estimate: Literal["sigma_points", "cross_covariance"] = Field(
        "sigma_points", description="estimate of the gradients, from sigma points or from particles, which differ more"
    )
    stop: float = Field(
        15.0, description="predicted objective beyond which a particle is not guided; needs sigma points"
    )
    polish: float = Field(0.08, gt=0, le=1, description="noise level of the last denoising")
    confidence: float = Field(
        0.99, gt=0, lt=1, description="mean target probability that an answer and its copies must reach"
    )
    copies: int = Field(0, ge=0, description="denoised noisy copies that are queried with a candidate")

    @property
    def gradients(self) -> int:
        """The number of gradients estimated in a search."""
        return math.ceil((self.steps - 1) / self.refresh)

    @property
    def queries_per_gradient(self) -> int:
        """The queries for each gradient."""
        share = self.queries // (3 if self.copies else 6)
        return (self.queries - 1 - max(1, min(self.particles * (1 + self.copies), share))) // self.gradients

    @property
    def checks(self) -> int:
        """The most queries for candidates at the end."""
        most = (self.particles + 1) * (1 + self.copies)
        return min(most, self.queries - 1 - self.gradients * self.queries_per_gradient)

    @property
    def calls(self) -> list[int]:
        """The number of queries in each call of the black box, in order. The first call is for the image."""
        return [1] + [self.queries_per_gradient] * self.gradients + [1] * self.checks

    def without(self, queries: int) -> SharedSearch:
        """The same search with `queries` fewer queries, which are spent elsewhere.

        Raises:
            ValueError: too few are left.
        """
        return SharedSearch(**{**dict(self), "queries": self.queries - queries})

    @model_validator(mode="before")
    @classmethod
    def _former_name(cls, values: Any) -> Any:
        if isinstance(values, dict) and "budget" in values:
            raise InvalidValue("search.budget is called search.queries now; rename it")
        return values

    @model_validator(mode="after")
    def _queries_suffice(self) -> SharedSearch:
        if self.queries_per_gradient < 2:
            least = next(queries for queries in itertools.count(self.queries) if self._suffices(queries))
            raise InvalidValue(
                f"search.queries must be >= {least} for {self.gradients} gradients, got {self.queries}; "
                "raise it, or raise search.refresh"
            )
        return self

    def _suffices(self, queries: int) -> bool:
        return self.model_construct(**{**self.__dict__, "queries": queries}).queries_per_gradient >= 2


SEARCHES_BY_SCORES: dict[str, dict[str, Any]] = {
    "top_k": {"queries": 100},
    "label": {"queries": 200, "estimate": "cross_covariance", "unpaid": 2, "confidence": 0.75, "copies": 8},
}
"""The defaults of a `SharedSearch` for a black box that answers only a part of its scores.

One label says little. Sigma points lie close to the mean, so most of them get the same label. The gradients therefore
query particles, which reach farther. An image's own label does not tell how deep the image lies within its class; the
labels of its copies do.
"""


class PaperSearch(BaseModel):
    """The search of Kim et al. 2025, with the paper's numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["paper"] = "paper"
    particles: int = Field(100, ge=2)
    strength: float = Field(0.4, gt=0, le=1)
    steps: int = Field(100, ge=1)
    eta: float = Field(1.0, ge=0, le=1)
    guidance: float = Field(0.2, ge=0)
    proximity: float = Field(0.02, ge=0)

    @property
    def calls(self) -> list[int]:
        """The number of queries in each call of the black box, in order. The first call is for the image."""
        return [1] + [self.particles] * (self.steps - 1) + [1] * self.checks

    @property
    def queries(self) -> int:
        """The queries of the whole search, which follow from its other numbers."""
        return sum(self.calls)

    @property
    def checks(self) -> int:
        """The queries for candidates at the end. There is one candidate."""
        return 1

    @property
    def confidence(self) -> float:
        """The target probability that an answer needs. The paper wants only the decision."""
        return 0.5

    @property
    def copies(self) -> int:
        """The copies that are queried with a candidate: none."""
        return 0

    def without(self, queries: int) -> PaperSearch:
        """The same search. Queries spent elsewhere are added to its own."""
        return self


Search = Annotated[SharedSearch | PaperSearch, Field(discriminator="method")]


class Settings(BaseModel):
    """The settings that `FreeMCG` takes, and that a YAML file for `--config` may hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    particles: int = Field(256, ge=2, description="denoised copies of the image; drawing them costs no query")
    queries: int = Field(65, ge=3, description="the most queries for one attribution, the image's own included")
    tolerance: float | None = Field(
        None,
        gt=0,
        description="relative standard error at which an attribution stops, after at most `queries`",
    )
    noise: tuple[float, ...] = Field((0.2,), min_length=1, description="noise levels, as fractions of the schedule")
    estimate: str = Field("control_variate", description=f"one of {', '.join(ESTIMATES)}")
    objective: str | Callable[..., Any] = Field(
        "log_odds", description=f"one of {', '.join(OBJECTIVES)}, or a callable"
    )
    search: Search = SharedSearch()
    seed: int = 0

    @field_validator("search", mode="before")
    @classmethod
    def _shared_unless_named(cls, value: Any) -> Any:
        return {"method": "shared", **value} if isinstance(value, dict) else value

    @field_validator("noise", mode="before")
    @classmethod
    def _one_level_or_several(cls, value: Any) -> Any:
        value = plain(value)
        return (value,) if isinstance(value, int | float) else value

    @field_validator("noise")
    @classmethod
    def _fractions(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        for level in value:
            if not 0 < level <= 1:
                raise InvalidValue(f"a noise level is a fraction of the schedule in (0, 1], got {level}")
        return value

    @field_validator("estimate")
    @classmethod
    def _known_estimate(cls, value: str) -> str:
        if value not in ESTIMATES:
            raise InvalidValue(f"estimate must be one of {', '.join(ESTIMATES)}, got {value!r}")
        return value

    @model_validator(mode="after")
    def _tolerance_needs_error_bars(self) -> Settings:
        if self.tolerance is not None and self.estimate not in WITH_ERROR_PARTS:
            known = " or ".join(WITH_ERROR_PARTS)
            raise InvalidValue(f"a tolerance needs an estimate with error bars, {known}; got {self.estimate!r}")
        return self

    @field_validator("objective")
    @classmethod
    def _known_objective(cls, value: str | Callable[..., Any]) -> str | Callable[..., Any]:
        if isinstance(value, str) and value not in OBJECTIVES:
            raise InvalidValue(f"objective must be one of {', '.join(OBJECTIVES)} or a callable, got {value!r}")
        return value

    def record(self) -> dict[str, Any]:
        """The settings in a form that JSON can hold. A callable objective becomes its name."""
        named = (
            self if isinstance(self.objective, str) else self.model_copy(update={"objective": _name(self.objective)})
        )
        return named.model_dump(mode="json")


def for_scores(values: dict[str, Any], scores: str) -> dict[str, Any]:
    """The values of `Settings`, with the defaults that hold for a black box of such `scores`.

    A mapping for the shared search gets its missing values from `SEARCHES_BY_SCORES`. A search object is left as it is.
    Bare labels are attributed by `cross_covariance` unless `values` name another estimate. The few labels at sigma
    points would give a linear model that does more harm than good.
    """
    search = values.get("search", {})
    if isinstance(search, dict) and search.get("method", "shared") == "shared":
        values = {**values, "search": {**SEARCHES_BY_SCORES.get(scores, {}), **search}}
    if scores == "label":
        values = {"estimate": "cross_covariance", **values}
    return values


def make(model: type[Model], values: dict[str, Any], *, source: str = "") -> Model:
    """Build a settings model.

    Raises:
        ValueError: a key or a value is wrong. The message is one sentence, and begins with `source`.
    """
    try:
        return model(**values)
    except ValidationError as error:
        raise InvalidValue((f"{source}: " if source else "") + _first_sentence(error, model, values)) from None


def _first_sentence(error: ValidationError, model: type[BaseModel], values: dict[str, Any]) -> str:
    first = error.errors()[0]
    place = [str(part) for part in first["loc"] if part not in ("shared", "paper")]
    name = ".".join(place)
    if first["type"] == "extra_forbidden":
        owner: type[BaseModel] = model
        if place[0] == "search" and len(place) > 1:
            owner = PaperSearch if (values.get("search") or {}).get("method") == "paper" else SharedSearch
        near = difflib.get_close_matches(place[-1], owner.model_fields, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(owner.model_fields)}"
        return f"unknown setting {name!r}; {hint}"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return message
    if first["type"].startswith("union_tag"):
        return f"search.method must be 'shared' or 'paper', got {(values.get('search') or {}).get('method')!r}"
    message = (
        message.replace("Input should be ", "")
        .replace("greater than or equal to", ">=")
        .replace("less than or equal to", "<=")
    )
    message = (
        message.replace("greater than", ">")
        .replace("less than", "<")
        .replace("a valid integer", "an integer")
        .replace("a valid ", "a ")
    )
    return f"{name} must be {message}, got {first['input']!r}"


def _name(function: Callable[..., Any]) -> str:
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', type(function).__qualname__)}"
