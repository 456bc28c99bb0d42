"""The settings of this package's search for counterfactuals, and which of them hold where a user names none."""

from __future__ import annotations

import itertools
import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from freemcg.messages.errors import InvalidValue

OPEN = ("queries", "strength", "fidelity", "refresh", "unpaid", "estimate", "trim", "rounds", "momentum", "spread")
"""The values of a shared search that the image decides, unless they are named."""

MANY = 28.0
"""The directions from which on an image has many. Digits and X-rays have 13 to 23, photographs 39 to 47."""

NARROW = 1.8
"""The spread of a search without a second round, which cannot go on from a candidate that was guided too little."""

MANY_DIRECTIONS: dict[str, Any] = {"queries": 800, "strength": 0.5, "fidelity": 0.5, "unpaid": 2}
MANY_DIRECTIONS |= {"spread": NARROW, "momentum": 0.0, "rounds": 1}
SHARE_OF_LATER = 4
PART_FOR_FEW_CHECKS = 9
LEAST_OF_LATER = 8  # fewer bring less than they bring the first round
QUERIES_OF_A_ROUGH_GRADIENT = 4
SHARE_OF_TRIM = 6
CHECKS_OF_TRIM = 3
LEAST_TO_TRIM = 8 + CHECKS_OF_TRIM  # two queries for each of 2x2 regions


class SharedSearch(BaseModel):
    """The counterfactual search of this package. A few particles share one gradient, which is renewed every few steps.

    `queries` bounds the whole search. One query is for the image. Up to `checks` are for candidates at the end: the
    nearest comes first, and the first good one ends the search. `trim` are for the answer. The gradients share the rest
    evenly. Several `tries` share `queries` evenly, and those that are not needed ask nothing.

    A try goes in `rounds`. If no candidate of a round is as sure of the target as wanted, the next round goes on from
    the best one, with less noise and one new gradient: see `later`. There is none if the queries do not suffice, and
    none with `copies`. A search that has one guides its particles more differently. These numbers, and `momentum`, were
    chosen on training images of MNIST, digits and X-rays.

    The defaults below are those for an image with few directions, such as a digit or an X-ray. If values are given as a
    mapping, those in `OPEN` that it does not name are left open until the image is seen; see `settled`. If a black box
    answers only its top classes or a bare label, other defaults hold: see `SEARCHES_BY_SCORES`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: Literal["shared"] = "shared"
    queries: int = Field(
        50, ge=1, le=10**6, description="the most queries for one counterfactual, the image's own included"
    )
    tries: int = Field(1, ge=1, description="searches from other noise, each begun only if none before it succeeds")
    rounds: int = Field(
        2,
        ge=1,
        le=3,
        description="rounds of a try, each from the best answer of those before while none is sure enough",
    )
    particles: int = Field(8, ge=1, le=10**6, description="candidates that are guided")
    strength: float = Field(0.6, gt=0, le=1, description="noise level of the start, as a fraction of the schedule")
    steps: int = Field(24, ge=2, description="steps of the reverse diffusion")
    eta: float = Field(1.0, ge=0, le=1, description="fresh noise per step: 0 is DDIM, 1 is DDPM")
    fidelity: float = Field(
        0.0, ge=0, le=1, description="share of what denoising loses of the input that is given back at every step"
    )
    guidance: float = Field(0.12, ge=0, description="size of a guiding step, relative to the predicted noise")
    spread: float = Field(
        2.5, ge=1, description="ratio of the largest guidance to the mean, and of the mean to the smallest"
    )
    proximity: float = Field(0.03, ge=0, description="size of the pull to the input, relative to the predicted noise")
    momentum: float = Field(
        0.5, ge=0, description="weight of the direction followed before beside a new gradient; 0 forgets it"
    )
    refresh: int = Field(6, ge=1, description="steps that use the same estimated gradient")
    unpaid: int = Field(
        64, ge=2, le=10**6, description="particles drawn for each estimated gradient; they cost no query"
    )
    estimate: Literal["sigma_points", "cross_covariance"] = Field(
        "sigma_points", description="estimate of the gradients, from sigma points or from particles, which differ more"
    )
    stop: float = Field(
        15.0, description="predicted objective beyond which a particle is not guided; needs sigma points"
    )
    polish: float = Field(0.08, gt=0, le=1, description="noise level of the last denoising")
    confidence: float = Field(
        0.999, gt=0, lt=1, description="mean target probability that an answer and its copies must reach"
    )
    copies: int = Field(0, ge=0, description="denoised noisy copies that are queried with a candidate")
    trim: int = Field(
        0, ge=0, description="queries that tell which regions of the change the answer needs; 0 keeps all"
    )

    @property
    def gradients(self) -> int:
        """The number of gradients estimated in the first round of a try."""
        return math.ceil((self.steps - 1) / self.refresh)

    @property
    def queries_of_a_try(self) -> int:
        """The most queries of a try, beside the one for the image and those that trim the answer."""
        return (self.queries - 1 - self.trim) // self.tries

    @property
    def later(self) -> list[SharedSearch]:
        """The rounds of a try after the first, as searches of their own: from half the noise, with one gradient.

        Such a search has a quarter of the try's queries, half of the particles and a third of the steps. It begins with
        what is known, so its own first query is not asked.
        """
        share = self.queries_of_a_try // SHARE_OF_LATER
        first = self.queries_of_a_try - share * (self.rounds - 1)
        if self.copies or share < LEAST_OF_LATER or self._queries_per_gradient(first, PART_FOR_FEW_CHECKS) < 2:
            return []
        steps = max(2, self.steps // 3)
        later = self.model_construct(
            **{
                **dict(self),
                "queries": 1 + share,
                "tries": 1,
                "rounds": 1,
                "trim": 0,
                "particles": max(1, self.particles // 2),
                "strength": self.strength / 2,
                "steps": steps,
                "refresh": steps,
            }
        )
        return [later] * (self.rounds - 1)

    @property
    def queries_of_first_round(self) -> int:
        """The most queries of the first round of a try."""
        return self.queries_of_a_try - sum(search.queries_of_a_try for search in self.later)

    @property
    def queries_per_gradient(self) -> int:
        """The queries for each gradient of the first round."""
        part = 3 if self.copies else PART_FOR_FEW_CHECKS if self.later else 6
        return self._queries_per_gradient(self.queries_of_first_round, part)

    def _queries_per_gradient(self, queries: int, part: int) -> int:
        """The same if a round has `queries`, and about one of `part` is for checks."""
        checks = max(1, min(self.particles * (1 + self.copies), (1 + queries) // part))
        return (queries - checks) // self.gradients

    @property
    def checks(self) -> int:
        """The most queries for candidates at the end of the first round of a try."""
        most = (self.particles + 1) * (1 + self.copies)
        return min(most, self.queries_of_first_round - self.gradients * self.queries_per_gradient)

    @property
    def calls(self) -> list[int]:
        """The number of queries in each call of the black box, in order. The first call is for the image."""
        a_try = [self.queries_per_gradient] * self.gradients + [1] * self.checks
        a_try += [call for search in self.later for call in search.calls[1:]]
        trim = [self.trim - CHECKS_OF_TRIM] + [1] * CHECKS_OF_TRIM if self.trim else []
        return [1] + a_try * self.tries + trim

    @property
    def frames(self) -> int:
        """The most queries that the path of a counterfactual costs with `Settings.ask_path`: one for each step."""
        return self.steps + sum(search.steps for search in self.later)

    @property
    def left_open(self) -> list[str]:
        """The values that are left open until the image is seen."""
        return [name for name in OPEN if name not in self.model_fields_set]

    @property
    def named(self) -> dict[str, Any]:
        """The values that somebody named. As a mapping, they leave open what is open here."""
        return {name: value for name, value in self if name in self.model_fields_set}

    def settled(self, directions: float, scores: str = "logits") -> SharedSearch:
        """The search with nothing left open, for an image around which realistic images differ in `directions` ways.

        Few directions: sigma points find a gradient from few queries, and several steps can follow it. Many directions,
        as of a photograph: sigma points reach only a few of them. A rough gradient from fresh particles at every step
        is better then, since the errors of many rough gradients average out along the way; momentum keeps them.
        It needs more queries, in one round, and less noise at the start. Denoising would lose much of such an image, so
        half of that is given back. The noise of the gradients changes more of it than is needed, so a sixth of the
        queries trims the answer, unless only labels tell how sure it is. A named `estimate` decides instead of
        `directions`.
        """
        if not self.left_open:
            return self
        named = self.named
        estimate = named.get("estimate", "cross_covariance" if directions >= MANY else "sigma_points")
        fitting = MANY_DIRECTIONS if estimate == "cross_covariance" else SEARCHES_BY_SCORES.get(scores, {})
        search = self.model_construct(**{**dict(self), **fitting, **named, "estimate": estimate})
        if "spread" not in {**fitting, **named} and not search.later:
            search = search.model_copy(update={"spread": NARROW})
        if fitting is MANY_DIRECTIONS and "trim" not in named and scores != "label" and not search.copies:
            search = search._with_share_of_trim()
        if estimate == "cross_covariance" and "refresh" not in named:
            rough = (search.model_copy(update={"refresh": refresh}) for refresh in range(1, search.steps))
            enough = (each for each in rough if each.queries_per_gradient >= QUERIES_OF_A_ROUGH_GRADIENT)
            search = next(enough, search)
        return SharedSearch(**dict(search))

    def _with_share_of_trim(self) -> SharedSearch:
        """The search with a sixth of its queries for trimming, if that suffices and leaves enough for the gradients."""
        share = self.queries // SHARE_OF_TRIM
        trimming = self.model_copy(update={"trim": share})
        return trimming if share >= LEAST_TO_TRIM and trimming.queries_per_gradient >= 2 else self

    def kinds(self, scores: str = "logits") -> list[SharedSearch]:
        """The search with nothing left open, for each kind of image: with few directions, and with many."""
        return [self.settled(directions, scores) for directions in (0, MANY)]

    def dearest(self, scores: str = "logits") -> SharedSearch:
        """The search with nothing left open, for the kind of image that costs most queries, or else most calls."""
        return max(self.kinds(scores), key=lambda search: (search.queries, len(search.calls)))

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
    def _trim_fits(self) -> SharedSearch:
        if 0 < self.trim < LEAST_TO_TRIM:
            raise InvalidValue(f"search.trim must be 0, or at least {LEAST_TO_TRIM}, got {self.trim}")
        if self.trim and self.copies:
            raise InvalidValue(
                f"search.trim of {self.trim} compares single images, and search.copies of {self.copies} takes means "
                "over copies; make one of them 0"
            )
        return self

    @model_validator(mode="after")
    def _queries_suffice(self) -> SharedSearch:
        if self.queries_per_gradient < 2:
            tries = f"{self.tries} tries of " if self.tries > 1 else ""
            least = next(queries for queries in itertools.count(self.queries) if self._suffices(queries))
            raise InvalidValue(
                f"search.queries must be >= {least} for {tries}{self.gradients} gradients, got {self.queries}; "
                "raise it, or raise search.refresh"
            )
        return self

    def _suffices(self, queries: int) -> bool:
        return self.model_construct(**{**self.__dict__, "queries": queries}).queries_per_gradient >= 2


SEARCHES_BY_SCORES: dict[str, dict[str, Any]] = {
    "top_k": {"queries": 100},
    "label": {
        "queries": 200,
        "strength": 0.6,
        "fidelity": 0.0,
        "refresh": 6,
        "unpaid": 2,
        "estimate": "cross_covariance",
        "spread": NARROW,
        "momentum": 0.0,
        "rounds": 1,
        "confidence": 0.75,
        "copies": 8,
    },
}
"""The defaults of a `SharedSearch` for a black box that answers only a part of its scores.

One label says little. Sigma points lie close to the mean, so most of them get the same label. The gradients therefore
query particles, which reach farther. An image's own label does not tell how deep the image lies within its class; the
labels of its copies do.
"""
