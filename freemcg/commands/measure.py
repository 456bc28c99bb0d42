"""`freemcg measure`: finished counterfactuals of several searches, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from freemcg.commands.options import Classifier, Payment

EXAMPLES = (
    "freemcg measure freemcg-demo --judge digits-judge",
    "freemcg measure ours paper --references training-pictures --cout 50 --model mine.py:predict",
    "freemcg measure ours paper --judge other.py:predict --features mine.py:embed --references training-pictures",
)


def measure(
    folders: Annotated[
        list[Path],
        typer.Argument(help="Folders that 'counterfactual' or 'demo' wrote, of the same pictures.", show_default=False),
    ],
    classifier: Classifier,
    payment: Payment,
    references: Annotated[
        Path | None,
        typer.Option(
            help="Folder of known pictures, such as those of training: how near is the nearest? If they lie in "
            "subfolders named as the classes, the nearest of the target's class. With --features also the Frechet "
            "distance from all, FID.",
            show_default=False,
        ),
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(
            help="A feature network, file.py:name: a callable from images (N, C, H, W) in [0, 1] to features (N, F). "
            "It measures the similarity of each counterfactual to its picture (S3), and the Frechet distance between "
            "half of the pictures and the counterfactuals of the others (split FID). A Frechet distance is biased "
            "unless there are many more pictures than features.",
            show_default=False,
        ),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            help="A second classifier, trained apart, in a form of --model: how many does it decide as the target? It "
            "costs one query of the judge a counterfactual. A file.py:name that answers neither logits nor "
            "probabilities, or needs another size, is a BlackBox.",
            show_default=False,
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
    the pictures that all of them have, each with the first. It costs no query, but for --cout and --judge.
    """
    from functools import partial

    from freemcg.comparison.counterfactuals import read_sides
    from freemcg.comparison.instruments import load_instruments
    from freemcg.comparison.sides_report import print_sides, write_sides

    sides, left_out = read_sides(folders)
    instruments = load_instruments(
        sides,
        references=references,
        features=features,
        batch_size=classifier.batch_size,
        judge=judge,
        cout=cout,
        load_model=classifier.load,
    )
    pay = partial(payment.give, out=out or folders[0])
    found, bills = instruments.measure(sides, left_out, pay=pay, price_per_1000=payment.price_per_1000)
    print_sides(found)
    for name, spending in bills.items():
        spending.say(spending.total(), of=name)
    if out is not None:
        write_sides(found, out)
