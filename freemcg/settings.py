"""Settings of an explanation: values only, every key known, every value checked, one sentence if not."""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from freemcg.messages.errors import InvalidValue

ESTIMATES = ("control_variate", "sigma_points", "cross_covariance", "regression", "per_particle")
WITH_ERROR_PARTS = ("control_variate", "cross_covariance")
OBJECTIVES = ("log_odds", "log_probability", "logit", "margin")
Model = TypeVar("Model", bound=BaseModel)


class SharedSearch(BaseModel):
    """The counterfactual search of this package: one gradient, estimated now and then, shared by few particles.

    `queries` bounds the whole search. One query is for the image, up to `checks` for candidates at the end, nearest
    first and only until one is good enough, and the rest is shared evenly by the gradients. For a black box that
    answers only its top classes or a bare label, other defaults hold: see `SEARCHES_BY_SCORES`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["shared"] = "shared"
    queries: int = Field(50, ge=1, description="the most that one counterfactual asks, the image's own included")
    particles: int = Field(8, ge=1, description="candidates that are guided")
    strength: float = Field(0.6, gt=0, le=1, description="noise level of the start, a fraction of the schedule")
    steps: int = Field(24, ge=2, description="steps of the reverse diffusion")
    eta: float = Field(1.0, ge=0, le=1, description="fresh noise a step: 0 is DDIM, 1 is DDPM")
    guidance: float = Field(0.12, ge=0, description="size of a guiding step, relative to the predicted noise")
    spread: float = Field(1.8, ge=1, description="factor between the guidance of the most guided particle and the mean")
    proximity: float = Field(0.03, ge=0, description="size of the pull to the input, relative to the predicted noise")
    refresh: int = Field(6, ge=1, description="steps for which an estimated gradient is used")
    unpaid: int = Field(64, ge=2, description="particles drawn without asking, for each estimated gradient")
    estimate: Literal["sigma_points", "cross_covariance"] = Field(
        "sigma_points", description="of the gradients: asks about sigma points, or about particles, which differ more"
    )
    stop: float = Field(15.0, description="objective predicted by sigma points past which a particle is not guided on")
    polish: float = Field(0.08, gt=0, le=1, description="noise level of a last denoising")
    confidence: float = Field(0.99, gt=0, lt=1, description="target probability wanted of the answer and its copies")
    copies: int = Field(0, ge=0, description="denoised noisy copies of a candidate that are asked about beside it")

    @property
    def gradients(self) -> int:
        """Gradients estimated in a search."""
        return math.ceil((self.steps - 1) / self.refresh)

    @property
    def queries_per_gradient(self) -> int:
        """Queries of each of them."""
        share = self.queries // (3 if self.copies else 6)
        return (self.queries - 1 - max(1, min(self.particles * (1 + self.copies), share))) // self.gradients

    @property
    def checks(self) -> int:
        """Queries that may be spent on candidates at the end."""
        most = (self.particles + 1) * (1 + self.copies)
        return min(most, self.queries - 1 - self.gradients * self.queries_per_gradient)

    @property
    def calls(self) -> list[int]:
        """Queries of each time that the black box is asked and waited for, the image's own among them."""
        return [1] + [self.queries_per_gradient] * self.gradients + [1] * self.checks

    def without(self, queries: int) -> SharedSearch:
        """The same search with `queries` fewer, which are spent elsewhere.

        Raises:
            ValueError: what is left is too small.
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
"""What a `SharedSearch` is unless told otherwise where the black box answers a part of its scores.

One label says little: sigma points, close to the mean, are mostly answered alike, so the gradients ask about particles,
which reach farther; and how deep an image lies within its class is not in its own label, but in those of its copies.
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
        """Queries of each time that the black box is asked and waited for, the image's own among them."""
        return [1] + [self.particles] * (self.steps - 1) + [1] * self.checks

    @property
    def queries(self) -> int:
        """Queries of the whole search, which its numbers fix."""
        return sum(self.calls)

    @property
    def checks(self) -> int:
        """Queries for candidates at the end: there is one candidate."""
        return 1

    @property
    def confidence(self) -> float:
        """Target probability wanted of the answer: that it is decided so."""
        return 0.5

    @property
    def copies(self) -> int:
        """Copies of the candidate that are asked about beside it: none."""
        return 0

    def without(self, queries: int) -> PaperSearch:
        """The same search: what is spent elsewhere comes on top of its queries."""
        return self


Search = Annotated[SharedSearch | PaperSearch, Field(discriminator="method")]


class Settings(BaseModel):
    """What `FreeMCG` is constructed with, and what a YAML for `--config` may hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    particles: int = Field(256, ge=2, description="denoised copies of the image; drawing one asks nothing")
    queries: int = Field(65, ge=3, description="the most that one attribution asks, the image's own included")
    tolerance: float | None = Field(
        None,
        gt=0,
        description="relative standard error at which an attribution stops asking, at `queries` at last",
    )
    noise: tuple[float, ...] = Field((0.2,), min_length=1, description="noise levels, fractions of the schedule")
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
        """The settings as JSON can hold them; a callable objective by its name."""
        named = (
            self if isinstance(self.objective, str) else self.model_copy(update={"objective": _name(self.objective)})
        )
        return named.model_dump(mode="json")


def for_scores(values: dict[str, Any], scores: str) -> dict[str, Any]:
    """Values of `Settings` as they are meant where the black box answers such `scores`.

    A mapping for the shared search gets what it does not say from `SEARCHES_BY_SCORES`; a search that was made is left
    as it is. An attribution of bare labels is one by `cross_covariance` unless `values` say otherwise: the few labels
    at sigma points make a linear model that does more harm than good.
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
        ValueError: a key or a value is wrong, in one sentence that begins with `source`.
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
