"""The settings of an explanation. Every key must be known, and every value is checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from freemcg.messages.arguments import plain
from freemcg.messages.errors import InvalidValue
from freemcg.settings.paper import PaperSearch
from freemcg.settings.search import MANY, SEARCHES_BY_SCORES, SharedSearch

ESTIMATES = ("control_variate", "sigma_points", "cross_covariance", "regression", "per_particle")
WITH_ERROR_PARTS = ("control_variate", "cross_covariance")
OF_FEW: dict[str, Any] = {"noise": (0.2,), "estimate": "control_variate"}
OF_MANY: dict[str, Any] = {"noise": (0.5,), "estimate": "cross_covariance"}
"""What a map is made with around which images differ in few or in many directions; see `Settings.settled`."""
OBJECTIVES = ("log_odds", "log_probability", "logit", "margin")

Search = Annotated[SharedSearch | PaperSearch, Field(discriminator="method")]


class Settings(BaseModel):
    """The settings that `FreeMCG` takes, and that a YAML file for `--config` may hold.

    If nobody names `noise`, it is left open until the image is seen, and `estimate` with it: see `settled`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    particles: int = Field(256, ge=2, le=10**6, description="denoised copies of the image; drawing them costs no query")
    queries: int = Field(
        65, ge=3, le=10**6, description="the most queries for one attribution, the image's own included"
    )
    tolerance: float | None = Field(
        None,
        gt=0,
        description="relative standard error at which an attribution stops, after at most `queries`",
    )
    noise: tuple[float, ...] = Field(
        OF_FEW["noise"],
        min_length=1,
        description=f"noise levels, as fractions of the schedule; unnamed, {OF_MANY['noise'][0]:g} for a photograph",
    )
    estimate: str = Field(
        OF_FEW["estimate"],
        description=f"one of {', '.join(ESTIMATES)}; if `noise` is unnamed too, {OF_MANY['estimate']} for a photograph",
    )
    objective: str | Callable[..., Any] = Field(
        "log_odds", description=f"one of {', '.join(OBJECTIVES)}, or a callable"
    )
    search: Search = SharedSearch()
    ask_path: bool = Field(False, description="also query the steps of a counterfactual's path, each at most once")
    seed: int = 0

    @field_validator("search", mode="before")
    @classmethod
    def _shared_unless_named(cls, value: Any) -> Any:
        if isinstance(value, SharedSearch):
            return SharedSearch(**dict(value))  # an object leaves nothing open
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

    @property
    def named(self) -> dict[str, Any]:
        """The values that somebody named. The same settings follow from them, and what is open stays open."""
        return {name: value for name, value in self if name in self.model_fields_set}

    @property
    def left_open(self) -> list[str]:
        """The values that are left open until the image is seen. A named `noise` leaves nothing open."""
        named = self.model_fields_set
        return [] if "noise" in named else [name for name in OF_MANY if name not in named]

    def settled(self, directions: float) -> Settings:
        """The settings with nothing left open, for an image around which realistic images differ in `directions` ways.

        A map is found from few queries if few directions matter. Around digits and X-rays these are 13 to 23 at noise
        level 0.2. Around photographs they are 39 to 47 there, and as few as around digits at level 0.5. So where there
        are many, the level is 0.5: the question is coarser, and 65 queries answer it. The particles themselves are
        queried then. A linear model through sigma points would say too little about a network's answers to photographs.
        """
        fitting = OF_MANY if directions >= MANY else OF_FEW
        return self.model_copy(update={name: fitting[name] for name in self.left_open})

    def record(self) -> dict[str, Any]:
        """The settings in a form that JSON can hold. A callable objective becomes its name.

        `ask_path` is there only if it is on. So the records of earlier versions, which had none, stay equal.
        """
        named = (
            self if isinstance(self.objective, str) else self.model_copy(update={"objective": _name(self.objective)})
        )
        return named.model_dump(mode="json", exclude=None if self.ask_path else {"ask_path"})


def for_scores(values: dict[str, Any], scores: str) -> dict[str, Any]:
    """The values of `Settings`, with the defaults that hold for a black box of such `scores`.

    For bare labels, a mapping for the shared search gets its missing values from `SEARCHES_BY_SCORES`. A search object
    is left as it is. Bare labels are attributed by `cross_covariance` unless `values` name another estimate. The few
    labels at sigma points would give a linear model that does more harm than good.
    """
    if scores != "label":
        return values
    search = values.get("search", {})
    if isinstance(search, dict) and search.get("method", "shared") == "shared":
        values = {**values, "search": {**SEARCHES_BY_SCORES[scores], **search}}
    return {"estimate": "cross_covariance", **values}


def _name(function: Callable[..., Any]) -> str:
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', type(function).__qualname__)}"
