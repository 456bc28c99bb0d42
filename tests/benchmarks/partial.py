"""Measure counterfactuals of the bundled digits when the classifier answers only a part of its scores.

    python tests/benchmarks/partial.py --kinds all,top-5,label --images 100 --out runs/partial
    python tests/benchmarks/partial.py --kinds label --split train --search "queries: 120"

The target is the runner-up of the full scores, for every kind of answer, so that the rows can be compared. Each
finished image is kept in --out, in a folder named by the settings. A second start does only what is missing. Several
may run side by side on different images (--first). Intervals are 95 %. Settings are chosen on --split train.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import typer
import yaml
from data_sets import load_images

from freemcg import BlackBox, Bundle, Counterfactual, FreeMCG, load_bundle
from freemcg.evaluation import CounterfactualSummary, summarise

app = typer.Typer(add_completion=False, help=__doc__)
COLUMNS = (
    "answers",
    "images",
    "decided as target",
    "judge agrees",
    "mean L1",
    "realism",
    "queries (most)",
    "seconds",
    "status",
    "wanted",
)
WANTED = {"top-5": (0.98, 0.85), "label": (0.90, 0.80)}  # least shares: decided as the target, and the judge agrees


def answer_logits(bundle: Bundle) -> BlackBox:
    return BlackBox(bundle.classifier, class_names=bundle.class_names)


def answer_top(k: int) -> Callable[[Bundle], BlackBox]:
    def make(bundle: Bundle) -> BlackBox:
        def predict(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            scores, labels = bundle.classifier(images).softmax(dim=1).topk(k)
            return labels, scores

        return BlackBox(predict, "top_k", class_names=bundle.class_names)

    return make


def answer_label(bundle: Bundle) -> BlackBox:
    return BlackBox(lambda images: bundle.classifier(images).argmax(dim=1), "label", class_names=bundle.class_names)


KINDS = {"all": answer_logits, "top-5": answer_top(5), "top-2": answer_top(2), "label": answer_label}


@app.command()
def main(
    images: int = 100,
    first: int = 0,
    split: str = "test",
    kinds: str = ",".join(KINDS),
    search: str = "",
    seed: int = 0,
    out: Path = Path("runs/partial"),
) -> None:
    """Measure counterfactuals to the runner-up, by kind of answer. --search holds settings in YAML."""
    bundle = load_bundle("digits")
    pictures = load_images("digits", split, first=first, count=images)
    with torch.no_grad():
        targets = bundle.classifier(pictures).topk(2).indices[:, 1].tolist()
    settings = yaml.safe_load("{" + search + "}")
    folder = "-".join([f"{name}={value}" for name, value in sorted(settings.items())] + [f"seed={seed}"])
    rows = ["| " + " | ".join(COLUMNS) + " |", "| --- " * len(COLUMNS) + "|"]
    for kind in kinds.split(","):
        results = []
        for index, (picture, target) in enumerate(zip(pictures, targets, strict=True), start=first):
            path = out / split / kind / folder / f"{index:04d}.safetensors"
            if not path.is_file():
                explainer = FreeMCG(KINDS[kind](bundle), bundle.denoiser, search=settings, seed=seed)
                explainer.counterfactual(picture, target).save(path)
                print(f"{kind} {index}", flush=True)
            results.append(Counterfactual.load(path))
        s = summarise(results, bundle.judge)
        statuses = [result.status for result in results]
        named = ", ".join(f"{name} {statuses.count(name)}" for name in sorted(set(statuses)))
        rows.append(
            f"| {kind} | {s.images} | {s.flipped:.1%} | {s.judged:.1%} | {s.l1:.4f} | {s.realism:.3f} "
            f"| {s.queries:.1f} ({s.most_queries}) | {s.seconds:.2f} | {named} | {_verdict(kind, s)} |"
        )
    print("\n".join(rows))


def _verdict(kind: str, summary: CounterfactualSummary) -> str:
    if kind not in WANTED:
        return ""
    decided, judged = WANTED[kind]
    met = summary.flipped.value >= decided and summary.judged.value >= judged
    return f"{decided:.0%}, {judged:.0%}: {'met' if met else 'missed'}"


if __name__ == "__main__":
    app()
