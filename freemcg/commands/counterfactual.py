"""`freemcg counterfactual`: the change that flips the decision."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from freemcg.commands.options import Classifier, Config, Device, Images, Out, Payment, Prior, Seed, Target
from freemcg.messages.errors import InvalidValue

FREEMCG = "freemcg"
EXAMPLES = (
    "freemcg counterfactual freemcg-demo/inputs/digit-4.png --target 9 --out changed",
    "freemcg counterfactual photos/ --model mine.py:predict --denoiser models/faces --out changed",
    "freemcg counterfactual photos/ --method nearest_image --references training-pictures --out nearest",
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
            help="The most queries per search, the image's own included.  [default: 50; 100 for top_k, 200 for label; "
            "800 for photographs]"
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="Who searches: freemcg, or to compare with, pixel_search (queries alone, 105), nearest_image (the "
            "nearest known picture that is decided so, of --references), adversarial (gradients of the pixels) or "
            "diffusion_guided (FreeMCG's search with true gradients). The last two need a torch module."
        ),
    ] = FREEMCG,
    references: Annotated[
        Path | None,
        typer.Option(help="Folder of known pictures, for --method nearest_image.", show_default=False),
    ] = None,
    seed: Seed = None,
    device: Device = None,
) -> None:
    """Find what flips the decision.

    It is a realistic image close to yours that the classifier decides as --target, or as its runner-up.

    An image costs at most 50 queries (--queries): 1 for itself, 10 for each of 4 gradients, the rest for candidates. If
    it can vary in many directions, as a photograph can, it costs at most 800. --config paper costs 9,902.
    """
    from functools import partial

    from freemcg.commands.folder import Made, explain_folder
    from freemcg.commands.prepare import search_settings, settings
    from freemcg.explainer import FreeMCG

    if references is not None and method != "nearest_image":
        raise InvalidValue(f"--references {references} are for --method nearest_image alone; leave them out")
    made: Made
    if method == FREEMCG:
        made = partial(FreeMCG, **search_settings(config, queries, seed=seed))
    else:
        from freemcg.comparison.searches import other_search

        if config is not None and method != "diffusion_guided":
            raise InvalidValue(f"--config {config} holds settings of FreeMCG; leave it out with --method {method}")
        own = settings(config, seed=seed)
        made = other_search(method, own, queries=queries, references=references, out=out)
    named = {"config": config, "references": None if references is None else str(references)}
    explain_folder("counterfactual", images, out, classifier, prior, target, made, device, payment, named=named)
