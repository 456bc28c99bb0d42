"""`freemcg compare`: attribution methods, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from freemcg.commands.contest import Contest
from freemcg.commands.options import DIGITS, Classifier, Device, Payment, Prior, Seed, Target
from freemcg.commands.unnamed import refuse_for_model
from freemcg.messages.errors import UNFINISHED, InvalidValue

EXAMPLES = (
    "freemcg compare",
    "freemcg compare --config tangentially-aligned-ig --out aligned",
    "freemcg compare photos/ --methods freemcg,integrated_gradients,rise --model mine.py:network \\",
    "    --denoiser models/faces --out compared",
    "accelerate launch --multi_gpu --num_processes 2 -m freemcg compare photos/ --out compared",
)


def compare(
    classifier: Classifier,
    payment: Payment,
    prior: Prior,
    contest: Contest,
    images: Annotated[
        Path | None,
        typer.Argument(
            help="A picture, or a folder of pictures.  [default: the first of the bundled held-out digits]",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the results. Finished maps are not made again.")] = Path(
        "freemcg-compare"
    ),
    count: Annotated[
        int | None, typer.Option("--images", min=1, help="How many of the bundled digits.  [default: 8]")
    ] = None,
    vae: Annotated[
        str | None,
        typer.Option(
            help="The VAE whose tangent spaces measure the maps: a folder written by 'freemcg train vae', or the "
            "bundled digits.  [default: digits for the denoiser digits, else the denoiser's particles are used]"
        ),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(
            help="Folder with a mask for each picture, a PNG of the same name and size whose object is white, for the "
            "measure 'mask'.",
            show_default=False,
        ),
    ] = None,
    references: Annotated[
        Path | None,
        typer.Option(
            help="Folder of other pictures of this kind, for expected_gradients, ig2 and the base-point data_mean.  "
            "[default: the bundled digits if there are no pictures]",
            show_default=False,
        ),
    ] = None,
    target: Target = None,
    config: Annotated[
        str | None,
        typer.Option(
            help="A recipe: manifold-hypothesis, tangentially-aligned-ig, manifold-ig, guided-ig or freemcg, one for "
            "each paper, or a YAML file with methods. Options override it. A file without methods, or the bundled "
            "'paper', holds settings of FreeMCG.",
            show_default=False,
        ),
    ] = None,
    queries: Annotated[
        int | None,
        typer.Option(
            min=3,
            help="The most queries per map, the image's own included; or gradients of the model.  [default: 256]",
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(help="The method that the others are tested against.  [default: the first]", show_default=False),
    ] = None,
    seed: Seed = None,
    device: Device = None,
) -> None:
    """Compare attribution methods, side by side.

    Each may cost the same for an image, and is measured by alignment with the tangent space, by insertion and by
    deletion, and by further --measures. All maps are drawn side by side. If a map is missing at the end, the exit
    status is 1, and the next start tries it again.

    If the recipe names searches, counterfactuals are then compared too, in a folder of their own below --out.

    A map costs at most --queries, and 2 * --steps + 1 queries to measure it. Each image costs one for its decision.
    Further measures cost more; the most of all is said before the first query.
    """
    from freemcg.commands.prepare import class_of, for_comparison, hush_diffusers
    from freemcg.commands.sources import refuse_in_the_way
    from freemcg.comparison.masks import read_masks
    from freemcg.comparison.measures import MASK
    from freemcg.comparison.pictures import bundled_digits, read_pictures, read_references
    from freemcg.comparison.recipe import read_recipe
    from freemcg.comparison.run import compare as run_comparison
    from freemcg.comparison.side_by_side import announce_searches, compare_searches, searchers_of
    from freemcg.explainer import FreeMCG
    from freemcg.files.fitting import cut_share
    from freemcg.jobs.announce import say_cut
    from freemcg.jobs.processes import start_processes
    from freemcg.jobs.unreadable import say_left_out, say_unreadable
    from freemcg.models.bundle import load_bundle
    from freemcg.models.load import load_vae
    from freemcg.settings import Settings, make

    _check_fit(images, count, masks, prior, classifier.model)
    hush_diffusers()
    refuse_in_the_way(out, model=classifier.model, denoiser=prior.denoiser, config=config, vae=vae)
    recipe = contest.over(read_recipe(config), queries)
    wanted = {**recipe.settings, "queries": recipe.queries, **({} if seed is None else {"seed": seed})}
    make(Settings, wanted)
    state, place = start_processes(device)
    black_box = for_comparison(classifier.load(place))
    payment.give(black_box, out)
    diffusion = prior.load(place)
    vae = DIGITS if vae is None and prior.denoiser in (None, DIGITS) else vae
    own, unreadable = ({}, {}) if images is None else read_pictures(images, out, diffusion)
    pictures = {name: each.image for name, each in own.items()}
    if images is None:
        pictures = bundled_digits(count or recipe.images, diffusion)
    if state.is_main_process:
        say_unreadable(unreadable.values())
        say_cut([share for each in own.values() if (share := cut_share(each.size, diffusion.image_size)) > 0])
    others = load_bundle("digits").images if images is None else None
    explainer = FreeMCG(black_box, diffusion, **wanted)
    searchers = searchers_of(recipe, black_box, diffusion, out, seed=explainer.settings.seed)
    class_index = class_of(target, black_box.class_names)
    searched = dict(list(pictures.items())[: recipe.searched])
    announce_searches(searchers, len(searched), out, class_index)
    rows = run_comparison(
        explainer,
        pictures,
        out,
        methods=recipe.methods,
        vae=None if vae is None else load_vae(vae, device=place),
        references=others if references is None else read_references(references, out, diffusion)[1],
        masks=None if masks is None else read_masks(masks, own, diffusion),
        target=class_index,
        steps=recipe.steps,
        measures=recipe.measures if masks is None else (*recipe.measures, MASK),
        against=against or recipe.against,
        published=recipe.published if images is None else None,
        price_per_1000=payment.price_per_1000,
    )
    whole = compare_searches(searchers, searched, out, target=class_index, price_per_1000=payment.price_per_1000)
    if state.is_main_process:
        say_left_out(len(unreadable), len(pictures) + len(unreadable))
    if unreadable or any(row["error"] for row in rows) or not whole:
        raise typer.Exit(UNFINISHED)


def _check_fit(images: Path | None, count: int | None, masks: Path | None, prior: Prior, model: str) -> None:
    """Refuse options of the pictures that do not go together."""
    if images is not None and count is not None:
        raise InvalidValue("give pictures, or --images for the bundled digits, and not both")
    if masks is not None and images is None:
        raise InvalidValue(f"--masks {masks} are masks of your own pictures; name these too")
    if images is not None:
        refuse_for_model(prior, model)
