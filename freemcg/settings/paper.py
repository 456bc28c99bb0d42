"""The settings of the published search for counterfactuals."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from freemcg.settings.search import SharedSearch


class PaperSearch(BaseModel):
    """The search of Kim et al. 2025, with the paper's numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: Literal["paper"] = "paper"
    particles: int = Field(100, ge=2, le=10**6)
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
    def frames(self) -> int:
        """The most queries that the path of a counterfactual costs with `Settings.ask_path`: one for each step."""
        return self.steps

    def dearest(self, scores: str = "logits") -> PaperSearch:
        """The same search. It costs as much for every image."""
        return self

    @property
    def checks(self) -> int:
        """The queries for candidates at the end. There is one candidate."""
        return 1

    @property
    def tries(self) -> int:
        """The searches from other noise: one."""
        return 1

    @property
    def later(self) -> list[SharedSearch]:
        """The rounds after the first: none."""
        return []

    @property
    def fidelity(self) -> float:
        """The share of what denoising loses of the input that is given back: none."""
        return 0.0

    @property
    def confidence(self) -> float:
        """The target probability that an answer needs. The paper wants only the decision."""
        return 0.5

    @property
    def copies(self) -> int:
        """The copies that are queried with a candidate: none."""
        return 0

    @property
    def trim(self) -> int:
        """The queries that trim the answer: none."""
        return 0

    def without(self, queries: int) -> PaperSearch:
        """The same search. Queries spent elsewhere are added to its own."""
        return self
