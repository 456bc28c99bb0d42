"""The options that say who searches for counterfactuals, which `counterfactual` and `plan` share.

This file imports nothing slow.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from freemcg.messages.errors import InvalidValue

FREEMCG, NEAREST = "freemcg", "nearest_image"
WITH_STEPS = (FREEMCG, "diffusion_guided")
"""The methods whose steps can be asked about, since their number is known before."""

Method = Annotated[
    str,
    typer.Option(
        help="Who searches: freemcg, or to compare with, pixel_search (queries alone, 105), nearest_image (the "
        "nearest known picture that is decided so, of --references), adversarial (gradients of the pixels), "
        "diffusion_guided (FreeMCG's search with true gradients) or dvce (Augustin et al. 2022). The last three "
        "need a torch module."
    ),
]
References = Annotated[
    Path | None,
    typer.Option(
        help="Folder of known pictures, for --method nearest_image. If they lie in subfolders named as the classes, "
        "only those of the target are asked.",
        show_default=False,
    ),
]
AskPath = Annotated[
    bool,
    typer.Option(
        "--ask-path",
        help="Also ask the classifier about each step on the way, for the curve of report.html. It costs at most one "
        "query a step: 24, and 8 for a second round, unless search.steps of --config says otherwise.",
    ),
]


@dataclass(frozen=True)
class Searcher:
    """The options that say who searches for counterfactuals."""

    method: Method = FREEMCG
    references: References = None
    ask_path: AskPath = False

    def __post_init__(self) -> None:
        """Refuse references that nobody takes, and questions about steps of a method that has none."""
        if self.references is not None and self.method != NEAREST:
            raise InvalidValue(f"--references {self.references} are for --method {NEAREST} alone; leave them out")
        if self.ask_path and self.method not in WITH_STEPS:
            raise InvalidValue(f"--ask-path is for --method {' or '.join(WITH_STEPS)}, got {self.method}; leave it out")

    @property
    def given(self) -> list[str]:
        """The names of the options that were given."""
        options = {f"--{name.replace('_', '-')}": value for name, value in vars(self).items()}
        return [name for name, value in options.items() if value not in (None, False, FREEMCG)]

    @property
    def is_ours(self) -> bool:
        """Whether FreeMCG itself searches."""
        return self.method == FREEMCG

    def settings(self, config: str | None, queries: int | None, **options: float | None) -> dict[str, Any]:
        """The arguments of `FreeMCG`. The queries are among them if it searches. A config may ask for the path as well.

        Raises:
            ValueError: a setting is wrong, or another method takes no config.
        """
        from freemcg.commands.prepare import search_settings, settings

        options |= {"ask_path": self.ask_path or None}
        if self.is_ours:
            return search_settings(config, queries, **options)
        if config is not None and self.method not in ("diffusion_guided", "dvce"):
            raise InvalidValue(f"--config {config} holds settings of FreeMCG; leave it out with --method {self.method}")
        return settings(config, **options)
