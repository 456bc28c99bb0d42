"""The options that say what a comparison compares, which `compare` and `plan` share. This file imports nothing slow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from freemcg.comparison.recipe import Recipe

Methods = Annotated[
    str | None,
    typer.Option(
        help="The methods, separated by commas: labels of the recipe, freemcg, freemcg_contribution (how much each "
        "pixel adds), and those of baselines.available().  [default: the recipe's; without one, freemcg, gradient, "
        "smooth_grad, integrated_gradients, guided_ig, rise, zeroth_order; freemcg, rise, geex, zeroth_order for a "
        "model that can only be queried]"
    ),
]
Measures = Annotated[
    str | None,
    typer.Option(
        help="Further measures, separated by commas: insertion_deletion_exchanged, insertion_deletion_denoised, "
        "road, pic, infidelity, sensitivity_n, max_sensitivity, attack, completeness, bright_object, mask, "
        "effective_noise."
    ),
]
Searched = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="How many of the pictures the recipe's searches for counterfactuals get; 0 leaves them out.  "
        "[default: the recipe's]",
        show_default=False,
    ),
]
Steps = Annotated[int | None, typer.Option(min=1, help="Steps of insertion and deletion.  [default: 32]")]


@dataclass(frozen=True)
class Contest:
    """The options that say what a comparison compares, and how. Each overrides that of a recipe."""

    methods: Methods = None
    measures: Measures = None
    steps: Steps = None
    searched: Searched = None

    @property
    def given(self) -> list[str]:
        """The names of the options that were given."""
        return [f"--{name}" for name, value in vars(self).items() if value is not None]

    def over(self, recipe: Recipe, queries: int | None = None) -> Recipe:
        """The recipe with these options, and with other queries if they are given."""
        given: dict[str, Any] = {"steps": self.steps, "searched": self.searched, "queries": queries}
        changes = {name: value for name, value in given.items() if value is not None}
        if self.methods is not None:
            changes |= {"methods": tuple(recipe.named(_names(self.methods))), "against": None}
        if self.measures is not None:
            changes["measures"] = tuple(_names(self.measures))
        return recipe.model_copy(update=changes)


def _names(text: str) -> list[str]:
    """What a list separated by commas names."""
    return [each.strip() for each in text.split(",")]
