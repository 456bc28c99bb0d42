"""`freemcg counterfactual`: the change that flips the decision."""

from __future__ import annotations

from typing import Annotated

import typer

from freemcg.commands.options import Classifier, Config, Device, Images, Out, Payment, Prior, Seed, Target

EXAMPLES = (
    "freemcg counterfactual freemcg-demo/inputs/digit-4.png --target 9 --out changed",
    "freemcg counterfactual photos/ --model mine.py:predict --denoiser models/faces --out changed",
)


def counterfactual(
    images: Images,
    out: Out,
    classifier: Classifier,
    payment: Payment,
    prior: Prior,
    target: Target = None,
    config: Config = None,
    queries: Annotated[
        int | None,
        typer.Option(
            help="The most queries per search, the image's own included.  [default: 50; 100 for top_k, 200 for label]"
        ),
    ] = None,
    seed: Seed = None,
    device: Device = None,
) -> None:
    """Find what flips the decision.

    It is a realistic image close to yours that the classifier decides as --target, or as its runner-up.

    An image costs at most 50 queries (--queries): 1 for itself, 10 for each of 4 gradients, the rest for candidates.
    --config paper costs 9,902.
    """
    from freemcg.commands.folder import explain_folder
    from freemcg.commands.prepare import search_settings

    wanted = search_settings(config, queries, seed=seed)
    explain_folder("counterfactual", images, out, classifier, prior, target, wanted, device, payment, config=config)
