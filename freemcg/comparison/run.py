"""Many methods over many images, at one cost: alignment, insertion and deletion, cost and time of each.

Every method on every image is a cell with its own file. So a stopped comparison resumes where it was. It can take more
images and methods, and it does not depend on the number of processes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from freemcg.blackbox import check_images
from freemcg.blackbox.cache import image_key
from freemcg.blackbox.scores import MULTI_LABEL, VALUE
from freemcg.comparison.cells import Cell, cell_path, load_cell
from freemcg.comparison.contestants import changes_of, entries_of, make_contestants
from freemcg.comparison.cost import Remaining, Work, remaining
from freemcg.comparison.masks import check_masks, mask_digest, without_mask
from freemcg.comparison.measures import MASK, measure_names
from freemcg.comparison.measuring import Measuring
from freemcg.comparison.model import check_model
from freemcg.comparison.outcome import write_outcome
from freemcg.comparison.recipe import Entry, Published
from freemcg.comparison.report import csv_row
from freemcg.comparison.tangents import EnsembleTangents, Tangents, VaeTangents
from freemcg.comparison.verdict import columns_of
from freemcg.explainer import FreeMCG
from freemcg.jobs.made_with import check_made_with, digest_of_settings, job_settings, write_made_with
from freemcg.jobs.spending import price_text
from freemcg.jobs.start import Start
from freemcg.jobs.unchanged import Answered, check_unchanged
from freemcg.messages.errors import InvalidValue
from freemcg.messages.terminal import say
from freemcg.models.architectures import ConvVAE


def compare(
    explainer: FreeMCG,
    images: Mapping[str, Tensor],
    out: Path,
    *,
    methods: Sequence[str | Entry] | None = None,
    vae: ConvVAE | None = None,
    references: Tensor | None = None,
    masks: Mapping[str, Tensor] | None = None,
    target: int | str | None = None,
    steps: int = 32,
    measures: Sequence[str] | None = None,
    against: str | None = None,
    published: Published | None = None,
    price_per_1000: float | None = None,
) -> list[dict[str, Any]]:
    """Compare methods, or do the missing part; print tables, write them as CSV, `grid.png` and a page.

    Every method may cost as much for an image as one attribution of `explainer`, `most_queries(explainer.settings,
    "attribution")`. This counts gradients if the method differentiates the model. All methods explain the same class
    and are measured alike: alignment with the tangent space, insertion and deletion with their defaults, and further
    `measures`. If a method fails on an image, its error is recorded and the others go on. The next start tries it
    again. It may name more measures: only those are then taken of the maps that are there. If no map was made at all,
    no table is written.

    If the black box has a budget, a map is begun only if the budget covers all of it. The rest is recorded as failed.

    Args:
        explainer: takes part as `freemcg` with its maps, and as `freemcg_contribution` with their contributions. The
            others query its black box, or differentiate the module in it.
        images: `(C, H, W)` in [0, 1] each, by name, of the denoiser's size. A name is a path below `out/cells`.
        out: the folder of the results.
        methods: these two and names of `baselines.available()`, or entries with labels and settings; `None` takes a
            few that the model allows.
        vae: gives the tangent spaces of the alignment; `None` takes those of particles. `manifold_ig` needs one.
        references: other images of this kind, `(M, C, H, W)`, for `expected_gradients`, `ig2` and the base-point
            `data_mean`.
        masks: where the object is, `(H, W)` bool, by the name of each image, for the measure `mask`.
        target: class index or name; `None` explains each decision.
        steps: the steps of insertion and deletion.
        measures: names of further measures, keys of `freemcg.comparison.measures.MEASURES`.
        against: the label of the method that the others are tested against on the same images; `None` takes the first.
        published: what a paper found; it is shown beside.
        price_per_1000: the price of a thousand queries, in any currency. It is shown beside the queries.

    Returns:
        The rows of `comparison.csv`, on every process.

    Raises:
        ValueError, TypeError: before the first query: images, methods and models do not fit together, the model is in
            training mode, or `out` holds results made with other settings. After it: the model does not answer as
            declared, or has no such class.

        QueryBudgetExceeded: the budget does not cover the decisions.

    A cell costs at most that (for ours, up to four more if the black box may change), and `2 * steps + 1` queries to
    measure it, and what further measures cost. Without `target` each image costs one query more. If some cells are
    already done, `check_unchanged` adds its cost.
    """
    if explainer.black_box.scores in (*MULTI_LABEL, VALUE):
        raise InvalidValue(
            f"methods are compared on classes that exclude one another, and the model answers "
            f"{explainer.black_box.scores}; for one label say scores='binary' on its column"
        )
    start = Start(black_box := explainer.black_box, price_per_1000, all_ask=True)
    entries, further = entries_of(methods, black_box), measure_names(measures, black_box)
    names = [entry.name for entry in entries]
    against = _one_of(names, against)
    wanted = None if target is None else black_box.class_index(target)
    tangents = _tangents(explainer, vae)
    for name, image in images.items():
        _check_image(name, image, explainer, tangents, steps)
    given = {
        "vae": vae,
        "references": references,
        "tangent_spaces": tangents,
        "seed": explainer.settings.seed,
        "batch_size": black_box.batch_size,
    }
    contestants = {each.name: each for each in make_contestants(entries, explainer, given)}
    check_model(black_box, contestants.values(), target=wanted, image=next(iter(images.values())))

    masks = check_masks(masks, images) if MASK in further else {}
    kept = {
        (image, name): _kept(out, image, name, images[image], masks.get(image)) for image in images for name in names
    }
    measuring = Measuring(explainer, tangents, steps, further, masks)
    left = remaining(
        kept,
        {each.name: each.most for each in contestants.values()},
        further,
        steps,
        black_box=black_box,
        decide=wanted is None,
    )
    made_with = _settings(explainer, wanted, tangents, steps)
    digests = {each.name: digest_of_settings({**made_with, **changes_of(each, references)}) for each in entries}

    def check() -> None:
        if start.speaks:
            check_made_with(out, made_with, _of_others(out, kept, digests))
            if (then := _oldest_answer(out, kept, images)) is not None:
                check_unchanged(black_box, then, out)
            out.mkdir(parents=True, exist_ok=True)
            write_made_with(out, made_with)
            _announce(left, len(images), len(contestants), price_per_1000)

    targets = {image: cell.target for (image, _), cell in kept.items() if cell is not None}

    def decide() -> dict[str, int]:
        share = start.share(left.undecided)
        return {name: int(black_box(images[name][None])[0].argmax()) if wanted is None else wanted for name in share}

    def measure(pair: tuple[str, str]) -> None:
        image, name = pair
        cell = measuring.finished(kept[pair], contestants[name], image, images[image], targets[image])
        if wanted is not None and cell.error is not None:
            black_box.class_index(wanted)  # if only an answer told how many classes there are
        replace(cell, made_with=digests[name]).save(cell_path(out, image, name))

    with start.saying_what_was_spent():
        start.together(check)
        for decided in start.together(decide):
            targets |= decided
        start.together(lambda: start.each(start.share(left.pending), measure, title="comparison", unit="map"))
    spent = start.spending.total()
    cells = {pair: cell for pair in kept if (cell := load_cell(out, *pair)) is not None}
    columns = columns_of(list(cells.values()))
    rows = [csv_row(cell, columns, black_box) for cell in cells.values()]
    if start.speaks:
        write_outcome(
            rows,
            cells,
            images,
            entries,
            out,
            black_box=black_box,
            own={name: each.added is not None for name, each in contestants.items()},
            tangents=tangents,
            against=against,
            published=published,
        )
        start.spending.say(spent)
    return rows


def _one_of(names: Sequence[str], against: str | None) -> str:
    if against is not None and against not in names:
        raise InvalidValue(f"there is no method {against!r} here to test against, only {', '.join(names)}")
    return against or names[0]


def _kept(out: Path, image: str, method: str, pixels: Tensor, mask: Tensor | None) -> Cell | None:
    """The saved cell, if it is of this very picture. What was measured with another mask is left out."""
    cell = load_cell(out, image, method)
    if cell is None or cell.picture != image_key(pixels).hex():
        return None
    return cell if mask is None or cell.mask == mask_digest(mask) else without_mask(cell)


def _of_others(out: Path, kept: Mapping[tuple[str, str], Cell | None], digests: Mapping[str, str]) -> list[Path] | None:
    """The cells that were made with other settings; `None` if one does not note its settings."""
    noted = {pair: cell.made_with for pair, cell in kept.items() if cell is not None}
    if "" in noted.values():
        return None
    return [cell_path(out, *pair) for pair, made_with in noted.items() if made_with != digests[pair[1]]]


def _check_image(name: str, image: Tensor, explainer: FreeMCG, tangents: Tangents, steps: int) -> None:
    check_images(image[None])
    explainer.denoiser.check_size(image[None])
    tangents.check(image[None])
    pixels = image[0].numel()
    if not 1 <= steps <= pixels:
        raise InvalidValue(f"steps must be in 1..{pixels}, the pixels of {name}, got {steps}")


def _tangents(explainer: FreeMCG, vae: ConvVAE | None) -> Tangents:
    settings = explainer.settings
    if vae is not None:
        return VaeTangents(vae)
    return EnsembleTangents(
        explainer.denoiser, particles=settings.particles, noise=settings.noise[0], seed=settings.seed
    )


def _settings(explainer: FreeMCG, target: int | None, tangents: Tangents, steps: int) -> dict[str, Any]:
    """The record that a second start must agree with. Its images and methods may differ."""
    record = job_settings(explainer, "attribution", target)
    space = f"{tangents.name}: {tangents.identity}"
    return {**record, "task": "comparison", "tangent space": space, "steps": steps}


def _announce(left: Remaining, images: int, methods: int, price_per_1000: float | None) -> None:
    costs = [str(left.maps)] if left.maps != Work() else []
    costs.append(f"{left.measures} to measure the maps")
    if left.decisions != Work():
        costs.append(f"{left.decisions} for the decisions")
    price = price_text((left.decisions + left.maps + left.measures).queries, price_per_1000)
    say(
        f"images: {images}; methods: {methods}; maps done before: {left.done}; to do: {len(left.pending)}, "
        + (f"at most {', and '.join(costs)}{price}" if left.pending else "nothing to ask"),
        err=True,
    )


def _oldest_answer(
    out: Path, kept: Mapping[tuple[str, str], Cell | None], images: Mapping[str, Tensor]
) -> Answered | None:
    """The answer for the image of the oldest measured cell; `None` if there is none."""
    measured = {pair: cell.scores for pair, cell in kept.items() if cell is not None and cell.scores is not None}
    if not measured:
        return None
    oldest = min(measured, key=lambda pair: cell_path(out, *pair).stat().st_mtime_ns)
    return Answered(oldest[0], images[oldest[0]], measured[oldest])
