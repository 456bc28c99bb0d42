"""`freemcg counterfactual`: the change that flips the decision."""

from __future__ import annotations

from typing import Annotated

import typer

from freemcg.commands.options import Classifier, Config, Device, Images, Out, Payment, Prior, Seed, Target
from freemcg.commands.searcher import Searcher

EXAMPLES = (
    "freemcg counterfactual freemcg-demo/inputs/digit-4.png --target 9 --out changed",
    "freemcg counterfactual photos/ --model mine.py:predict --denoiser models/faces --out changed",
    "freemcg counterfactual photos/ --model mine.py:predict --denoiser models/faces --ask-path --out changed",
    "freemcg counterfactual photos/ --method nearest_image --references training-pictures --out nearest",
)


def counterfactual(
    images: Images,
    out: Out,
    classifier: Classifier,
    payment: Payment,
    prior: Prior,
    searcher: Searcher,
    target: Target = None,
    config: Config = None,
    queries: Annotated[
        int | None,
        typer.Option(
            help="The most queries per search, the image's own included.  [default: 50; 100 for top_k, 200 for label; "
            "800 for photographs]"
        ),
    ] = None,
    seed: Seed = None,
    device: Device = None,
) -> None:
    """Find what flips the decision.

    It is a realistic image close to yours that the classifier decides as --target, or as its runner-up.

    An image costs at most 50 queries (--queries): 1 for itself, 10 for each of 4 gradients, the rest for candidates. If
    it can vary in many directions, as a photograph can, it costs at most 800. --config paper costs 9,902. --ask-path
    adds at most one for each step on the way, 24 or 100 with --config paper.
    """
    from functools import partial

    from freemcg.commands.folder import Made, explain_folder
    from freemcg.explainer import FreeMCG

    own = searcher.settings(config, queries, seed=seed)
    if searcher.is_ours:
        made: Made = partial(FreeMCG, **own)
    else:
        from freemcg.comparison.searches import other_search

        made = other_search(searcher.method, own, queries=queries, references=searcher.references, out=out)
    named = {"config": config, "references": None if searcher.references is None else str(searcher.references)}
    explain_folder("counterfactual", images, out, classifier, prior, target, made, device, payment, named=named)
