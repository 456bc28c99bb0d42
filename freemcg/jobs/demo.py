"""The demonstration: held-out digits, a classifier that is only queried, and a judge that was trained apart from it."""

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
from freemcg.jobs.page import try_to_write_page
from freemcg.messages.errors import InvalidValue
from freemcg.messages.terminal import say
from freemcg.models.bundle import Bundle, load_bundle
from freemcg.models.digits import CLASS_NAMES
from freemcg.show.figures import plot_grid, write_figure
from freemcg.show.tables import print_table


def run_demo(out: Path, *, images: int = 4, seed: int = 0) -> list[dict[str, Any]]:
    """Explain the decisions on held-out digits, change each digit until the decision is another, and ask the judge.

    The folder `out` gets `demo.png` with all digits on one sheet, and the digits in `inputs`. Each digit has a folder
    with its counterfactual, two figures and two results. `report.html` shows them all in a browser.

    Args:
        images: the number of digits, 1..10, each of another class.
        seed: the seed of the choice of digits and of all noise.

    Returns:
        The rows of the printed table.

    Raises:
        ValueError: `images` is out of range.

    Costs about 170 queries and, on two CPU cores, 5 seconds a digit.
    """
    bundle = load_bundle("digits")
    chosen = choose_digits(bundle, images, seed)
    black_box = BlackBox(bundle.classifier, class_names=bundle.class_names)
    explainer = FreeMCG(black_box, bundle.denoiser, seed=seed)
    inputs = out / "inputs"
    inputs.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    pairs = []
    for index in chosen:
        image, name = bundle.images[index], bundle.class_names[int(bundle.labels[index])]
        say(f"explaining a {name} ({len(rows) + 1} of {len(chosen)})", err=True)
        attribution, counterfactual = explainer.explain(image), explainer.counterfactual(image)
        judged = _decide(bundle.judge, counterfactual.image)
        counterfactual = replace(counterfactual, record={**counterfactual.record, "judge": judged})
        pairs.append((attribution, counterfactual))
        folder = out / f"digit-{name}"
        attribution.save(folder / "attribution.safetensors")
        counterfactual.save(folder / "counterfactual.safetensors")
        write_image(image, inputs / f"{folder.name}.png")
        write_image(counterfactual.image, folder / "counterfactual.png")
        write_figure(attribution.plot(), folder / "attribution-figure.png")
        write_figure(counterfactual.plot(), folder / "counterfactual-figure.png")
        rows.append(
            {
                "image": f"inputs/{folder.name}.png",
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
    say(*_explanation(out, rows[0]).splitlines())
    return rows


def choose_digits(bundle: Bundle, count: int, seed: int) -> list[int]:
    """Indices of held-out digits of `count` different classes that the classifier decides right, drawn with `seed`.

    Raises:
        ValueError: there are not as many classes.
    """
    classes = len(bundle.class_names)
    if not 1 <= count <= classes:
        raise InvalidValue(f"images must be 1..{classes}, one a class, got {count}")
    with torch.no_grad():
        decisions = bundle.classifier(bundle.images).argmax(dim=1)
    first: dict[int, int] = {}
    for index in torch.randperm(len(bundle.labels), generator=generator_for(seed, "demo")).tolist():
        label = int(bundle.labels[index])
        if int(decisions[index]) == label:
            first.setdefault(label, index)
    return list(first.values())[:count]


@torch.no_grad()
def _decide(network: torch.nn.Module, image: Tensor) -> int:
    return int(network(image[None]).argmax())


def _explanation(out: Path, row: dict[str, Any]) -> str:
    another = next(name for name in CLASS_NAMES if name not in (row["decision"], row["target"]))
    return f"""
{out / "demo.png"}: each digit, what speaks for its decision (orange: lighter helps), the nearest realistic
digit that is decided otherwise, and what was changed. The classifier was only queried, and the judge not at all during
the search: where it agrees, the digit has changed, and not only one classifier's mind.
Next: freemcg counterfactual {out / row["image"]} --target {another} --out changed
Your own: freemcg attribute PICTURES --model file.py:callable --denoiser FOLDER_OR_HUB_ID --out results"""
