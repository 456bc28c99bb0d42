"""`freemcg cache`: the answers stored in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from freemcg.messages.terminal import say

EXAMPLES = ("freemcg cache results/answers.sqlite", "freemcg cache results/answers.sqlite --clear")


def cache(
    file: Annotated[Path, typer.Argument(help="The file that --cache named.", show_default=False)],
    clear: Annotated[bool, typer.Option("--clear", help="Forget all answers.")] = False,
) -> None:
    """Count the answers in a file, model by model, or clear it."""
    from freemcg.blackbox.cache import QueryCache

    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    kept = QueryCache(file)
    if clear:
        say(f"forgot {kept.clear()} answers")
    for each in kept.models():
        say(f"{each.answers} answers ({each.scores}) of {each.model}")
