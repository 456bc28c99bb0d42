"""`freemcg measure`: finished counterfactuals of several searches, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from freemcg.commands.options import Classifier, Payment
from freemcg.messages.errors import InvalidValue
from freemcg.messages.terminal import say

EXAMPLES = (
    "freemcg measure changed",
    "freemcg measure ours paper --references training-pictures --cout 50 --model mine.py:predict",
)


def measure(
    folders: Annotated[
        list[Path],
        typer.Argument(help="Folders that 'counterfactual' wrote, of the same pictures.", show_default=False),
    ],
    classifier: Classifier,
    payment: Payment,
    references: Annotated[
        Path | None,
        typer.Option(
            help="Folder of known pictures, such as those of training: how near is the nearest?", show_default=False
        ),
    ] = None,
    cout: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Also take COUT in so many steps: do few pixels suffice? It asks --model, so many queries and one "
            "more a counterfactual.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the figures of every picture, as CSV.", show_default=False)
    ] = None,
) -> None:
    """Measure finished counterfactuals, a row for each folder.

    Were they decided as the target, how much did they change, and how realistic are they? The searches are compared on
    the pictures that all of them have, each with the first. It costs no query, but for --cout.
    """
    from freemcg.comparison.counterfactuals import check_model, measure_sides, read_known, read_sides
    from freemcg.comparison.sides_report import print_sides, write_sides
    from freemcg.jobs.spending import Spending, price_text

    sides, left_out = read_sides(folders)
    pictures = next(iter(sides.values()))
    first = next(iter(pictures.values())).original
    if cout is not None and cout > first[0].numel():
        raise InvalidValue(f"--cout must be in 1..{first[0].numel()}, the pixels of a picture, got {cout}")
    known = None if references is None else read_known(references, first)
    black_box = None if cout is None else classifier.load()
    spending = None
    if black_box is not None and cout is not None:
        check_model(sides, black_box)
        payment.give(black_box, out or folders[0])
        most = len(sides) * len(pictures) * (cout + 1)
        say(f"cout: at most {most} queries{price_text(most, payment.price_per_1000)}", err=True)
        spending = Spending(black_box, payment.price_per_1000)
    found = measure_sides(sides, left_out, known=known, black_box=black_box, steps=cout or 0)
    print_sides(found)
    if spending is not None:
        spending.say(spending.total())
    if out is not None:
        write_sides(found, out)
