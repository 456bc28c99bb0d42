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
    "freemcg measure ours paper --judge other.py:predict --features mine.py:embed --references training-pictures",
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
            help="Folder of known pictures, such as those of training: how near is the nearest? With --features also "
            "the Frechet distance from them, FID.",
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
    from freemcg.comparison.counterfactuals import check_model, measure_sides, read_known, read_sides
    from freemcg.comparison.embedded import check_counts
    from freemcg.comparison.judge import check_judge, judged
    from freemcg.comparison.sides_report import print_sides, write_sides
    from freemcg.jobs.spending import Spending, price_text
    from freemcg.models.features import load_features
    from freemcg.models.load import load_black_box

    sides, left_out = read_sides(folders)
    pictures = next(iter(sides.values()))
    first, answers = next(iter(pictures.values())).original, len(sides) * len(pictures)
    if cout is not None and cout > first[0].numel():
        raise InvalidValue(f"--cout must be in 1..{first[0].numel()}, the pixels of a picture, got {cout}")
    known = None if references is None else read_known(references, first)
    network = None if features is None else load_features(features, batch_size=classifier.batch_size)
    if network is not None:
        check_counts(len(pictures), known)
        network(first.expand(2, -1, -1, -1))  # refused here, if it answers no features
    # Only the order of a judge's scores counts, so logits stand for what an address does not tell.
    arbiter = None if judge is None else load_black_box(judge, scores="logits" if "://" in judge else None)
    if arbiter is not None:
        check_judge(sides, arbiter)
    black_box = None if cout is None else classifier.load()
    if black_box is not None:
        check_model(sides, black_box)
    bills = {}
    if arbiter is not None:
        payment.give(arbiter, out or folders[0])
        say(f"judge: at most {answers} queries{price_text(answers, payment.price_per_1000)}", err=True)
        bills["the judge"] = Spending(arbiter, payment.price_per_1000)
    verdicts = None if arbiter is None else judged(sides, arbiter)
    if black_box is not None and cout is not None:
        payment.give(black_box, out or folders[0], spent=0 if arbiter is None else arbiter.queries)
        most = answers * (cout + 1)
        say(f"cout: at most {most} queries{price_text(most, payment.price_per_1000)}", err=True)
        bills["this start"] = Spending(black_box, payment.price_per_1000)
    found = measure_sides(
        sides, left_out, known=known, features=network, verdicts=verdicts, black_box=black_box, steps=cout or 0
    )
    print_sides(found)
    for name, spending in bills.items():
        spending.say(spending.total(), of=name)
    if out is not None:
        write_sides(found, out)
