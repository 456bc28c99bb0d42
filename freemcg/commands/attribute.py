"""`freemcg attribute`: what would move the classifier's score."""

from __future__ import annotations

from typing import Annotated

import typer

from freemcg.commands.options import Classifier, Config, Device, Images, Out, Payment, Prior, Seed, Target

EXAMPLES = (
    "freemcg attribute freemcg-demo/inputs --out results",
    "freemcg attribute photos/ --model mine.py:predict --denoiser models/faces --contribution --out results",
    "accelerate launch --multi_gpu --num_processes 2 -m freemcg attribute photos/ --out results",
)


def attribute(
    images: Images,
    out: Out,
    classifier: Classifier,
    payment: Payment,
    prior: Prior,
    target: Target = None,
    config: Config = None,
    queries: Annotated[
        int | None, typer.Option(help="The most queries per map, the image's own included.  [default: 65]")
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(help="Stop once the map's relative standard error is this small, after at most --queries."),
    ] = None,
    contribution: Annotated[
        bool,
        typer.Option(
            "--contribution",
            help="Also write how much each pixel adds, beside the map: contribution.png and contribution.safetensors. "
            "No further query.",
        ),
    ] = False,
    seed: Seed = None,
    device: Device = None,
) -> None:
    """Show what would move the classifier's score.

    The map shows where a brighter pixel speaks for the decision, or for --target, and where it speaks against.

    An image costs 65 queries (--queries). A model behind an address gets the image once more at the end,
    and four times if the answer differs. If the answers are another model's, the result is marked model_changed.
    """
    from functools import partial

    from freemcg.commands.folder import explain_folder
    from freemcg.commands.prepare import settings
    from freemcg.explainer import FreeMCG

    wanted = settings(config, queries=queries, tolerance=tolerance, seed=seed)
    explain_folder(
        "attribution",
        images,
        out,
        classifier,
        prior,
        target,
        partial(FreeMCG, **wanted),
        device,
        payment,
        named={"config": config},
        contribution=contribution,
    )
