"""Does alignment with the tangent space come from what a classifier has learnt (Bordt et al. 2023, arXiv:2206.07387)?

    python tests/benchmarks/hypothesis_by_training.py --out runs/hypothesis

Three classifiers of the digits, alike but for their training: as usual, on attacked images, and on labels in random
order. Each is compared by the recipe `manifold-hypothesis`. A second start trains and measures only what is missing.
Without augmentation, so that the third can learn its labels by heart. What it reached is in the column `loss`.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from freemcg.commands.app import main
from freemcg.comparison.report import mean_of
from freemcg.show.tables import print_table
from freemcg.training import ClassifierTraining, train_classifier

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__, rich_markup_mode=None)
TRAININGS: dict[str, dict[str, Any]] = {
    "as usual": {},
    "attacked images": {"adversarial": True, "attack_steps": 5},
    "shuffled labels": {"shuffled_labels": True},
}
BY_HEART = 4  # times as many steps, where the labels follow from nothing


@app.command()
def run(
    out: Annotated[Path, typer.Option(help="Folder of the classifiers and the comparisons.")] = Path("runs/hypothesis"),
    images: Annotated[int, typer.Option(min=2, help="How many of the bundled digits.")] = 50,
    steps: Annotated[
        int, typer.Option(min=1, help="Steps of each training; four times as many for shuffled labels.")
    ] = 2500,
    width: Annotated[int, typer.Option(min=4, help="Channels of each classifier.")] = 16,
    seed: int = 0,
) -> None:
    """Train, compare, and print a row for each classifier: the mean alignment of each method, with 95 % intervals."""
    rows = []
    for name, changes in TRAININGS.items():
        folder = out / name.replace(" ", "-")
        if not (folder / "classifier" / "training.json").is_file():
            longer = steps * BY_HEART if changes.get("shuffled_labels") else steps
            settings = ClassifierTraining(steps=longer, width=width, ema=0.99, seed=seed, **changes)
            train_classifier(settings, folder / "classifier")
        record = json.loads((folder / "classifier" / "training.json").read_text())
        words = ["compare", "--config", "manifold-hypothesis", "--images", str(images)]
        if main([*words, "--model", str(folder / "classifier"), "--out", str(folder / "compared")]) != 0:
            raise typer.Exit(1)
        rows.append(
            {
                "training": name,
                "loss": f"{record['loss_curve'][-1][1]:.3f}",
                "held-out accuracy": f"{record['held_out_accuracy']:.3f}",
                **alignments(folder / "compared" / "comparison.csv"),
            }
        )
    print_table(rows)


def alignments(table: Path) -> dict[str, str | None]:
    """The mean alignment by method."""
    with table.open(newline="") as stream:
        found = list(csv.DictReader(stream))
    methods = dict.fromkeys(row["method"] for row in found)
    return {
        name: mean_of([float(row["alignment"]) for row in found if row["method"] == name and row["alignment"]])
        for name in methods
    }


if __name__ == "__main__":
    app()
