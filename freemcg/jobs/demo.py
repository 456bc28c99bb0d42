"""The demonstration: held-out images, a classifier that is only queried, and a judge that was trained apart from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from freemcg.blackbox import BlackBox
from freemcg.diffusion.noise import generator_for
from freemcg.explainer import FreeMCG
from freemcg.files.images import write_image
from freemcg.jobs.items import DEMO_CHANGE, DEMO_MAP, RECEIPTS
from freemcg.jobs.page import try_to_write_page
from freemcg.messages.errors import InvalidValue
from freemcg.messages.terminal import say
from freemcg.models.bundle import Bundle, load_bundle
from freemcg.show.figures import plot_grid, write_figure
from freemcg.show.tables import print_table

MOST_IMAGES = 10
WORDS = {"digits": "digit", "chest-xrays": "x-ray"}
"""The bundles that can be shown, and what an image of each is called."""


def run_demo(out: Path, *, data: str = "digits", images: int = 4, seed: int = 0) -> list[dict[str, Any]]:
    """Explain the decisions on held-out images, change each until the decision is another, and ask the judge.

    The folder `out` gets `demo.png` with all images on one sheet, and the images in `inputs`. Each image has a folder
    with its counterfactual, two figures, and two results with their receipts. `report.html` shows all in a browser.

    Args:
        data: the bundle, `"digits"` or `"chest-xrays"`.
        images: the number of images, 1..10, of each class in turn.
        seed: the seed of the choice of images and of all noise.

    Returns:
        The rows of the printed table.

    Raises:
        ValueError: `images` is out of range, or there is no such bundle.

    Costs at most 115 queries an image and, on two CPU cores, 5 seconds.
    """
    if data not in WORDS:
        raise InvalidValue(f"data must be {' or '.join(WORDS)}, got {data!r}")
    bundle = load_bundle(data)
    chosen = choose_images(bundle, images, seed)
    names = name_images(bundle, chosen, WORDS[data])
    black_box = BlackBox(bundle.classifier, class_names=bundle.class_names)
    explainer = FreeMCG(black_box, bundle.denoiser, seed=seed)
    inputs = out / "inputs"
    inputs.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    pairs = []
    for index, name in zip(chosen, names, strict=True):
        image = bundle.images[index]
        say(f"explaining {name} ({len(rows) + 1} of {len(chosen)})", err=True)
        with black_box.recording() as of_map:
            attribution = explainer.explain(image)
        with black_box.recording() as of_change:
            counterfactual = explainer.counterfactual(image)
        judged = _decide(bundle.judge, counterfactual.image)
        counterfactual = replace(counterfactual, record={**counterfactual.record, "judge": judged})
        pairs.append((attribution, counterfactual))
        folder = out / name
        attribution.save(folder / DEMO_MAP)
        counterfactual.save(folder / DEMO_CHANGE)
        of_map.save(folder / RECEIPTS[DEMO_MAP])
        of_change.save(folder / RECEIPTS[DEMO_CHANGE])
        write_image(image, inputs / f"{name}.png")
        write_image(counterfactual.image, folder / "counterfactual.png")
        write_figure(attribution.plot(), folder / "attribution-figure.png")
        write_figure(counterfactual.plot(), folder / "counterfactual-figure.png")
        rows.append(
            {
                "image": f"inputs/{name}.png",
                "decision": bundle.class_names[counterfactual.original_decision],
                "target": bundle.class_names[counterfactual.target],
                "flipped": counterfactual.flipped,
                "judge agrees": judged == counterfactual.target,
                "L1": counterfactual.l1,
                "queries": attribution.queries + counterfactual.queries,
                "seconds": round(attribution.seconds + counterfactual.seconds, 1),
            }
        )
    write_figure(plot_grid(pairs), out / "demo.png")
    try_to_write_page(out)
    print_table(rows)
    say(*_explanation(out, data, bundle.class_names, rows[0]).splitlines())
    return rows


def choose_images(bundle: Bundle, count: int, seed: int) -> list[int]:
    """Indices of held-out images that the classifier decides right, drawn with `seed`, from each class in turn.

    Raises:
        ValueError: `count` is not 1..10.
    """
    if not 1 <= count <= MOST_IMAGES:
        raise InvalidValue(f"images must be 1..{MOST_IMAGES}, got {count}")
    with torch.no_grad():
        right = bundle.classifier(bundle.images).argmax(dim=1) == bundle.labels
    drawn = torch.randperm(len(bundle.labels), generator=generator_for(seed, "demo"))
    drawn = drawn[right[drawn]]
    of_class = torch.nn.functional.one_hot(bundle.labels[drawn], len(bundle.class_names))
    turn = (of_class.cumsum(dim=0) * of_class).sum(dim=1)  # 1 for the first image of each class, 2 for the second
    return drawn[turn.argsort(stable=True)][:count].tolist()


def name_images(bundle: Bundle, chosen: list[int], word: str) -> list[str]:
    """A name for each image, by its class: `x-ray-normal`, and `x-ray-normal-2` for the second of the class."""
    labels = bundle.labels[chosen].tolist()
    before = [labels[:place].count(label) for place, label in enumerate(labels)]
    return [
        f"{word}-{bundle.class_names[label]}" + (f"-{count + 1}" if count else "")
        for label, count in zip(labels, before, strict=True)
    ]


@torch.no_grad()
def _decide(network: torch.nn.Module, image: Tensor) -> int:
    return int(network(image[None]).argmax())


def _explanation(out: Path, data: str, class_names: tuple[str, ...], row: dict[str, Any]) -> str:
    others = [name for name in class_names if name not in (row["decision"], row["target"])]
    models = "" if data == "digits" else f" --model {data} --denoiser {data}"
    return f"""
{out / "demo.png"}: each {WORDS[data]}, what speaks for its decision (orange: lighter helps), a realistic one near
it that is decided otherwise, and what was changed. The classifier was only queried, and the judge not at all during
the search: where it agrees, the image has changed, and not only one classifier's mind.
Next: freemcg counterfactual {out / row["image"]}{models} --target {[*others, row["target"]][0]} --out changed
Your own: freemcg attribute PICTURES --model file.py:callable --denoiser FOLDER_OR_HUB_ID --out results"""
