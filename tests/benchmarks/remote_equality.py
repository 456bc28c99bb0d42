"""Measure how far explanations of a model behind MLServer are from those of the same model in this process.

python tests/benchmarks/remote_equality.py --images 10

The bundled digits classifier is asked about 8-bit images in both places, in the same batches, with the same seed.
MLServer must be installed beside this Python; the server is started here and stopped at the end.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch
import typer

from freemcg import BlackBox, FreeMCG, load_bundle
from freemcg.blackbox.remote.inference_protocol import inference_black_box

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))
import digits_mlserver

app = typer.Typer(add_completion=False, help=__doc__)


@app.command()
def main(images: int = 10, model: str = "digits-uint8", seed: int = 0) -> None:
    """Print the largest differences over attributions and counterfactuals of held-out digits."""
    bundle = load_bundle("digits")
    differences: dict[str, list[float]] = {}

    def compare(name: str, there: torch.Tensor, here: torch.Tensor, scale: float = 1.0) -> None:
        differences.setdefault(name, []).append((there - here).abs().max().item() / scale)

    with tempfile.TemporaryDirectory() as folder, digits_mlserver.running(Path(folder)) as address:
        remote = inference_black_box(f"{address}/{model}", "logits")
        local = BlackBox(bundle.classifier, eight_bit=True, batch_size=remote.predict.transport.batch_size)
        compare("log-probabilities", remote(bundle.images[:images]), local(bundle.images[:images]))
        asked = [FreeMCG(each, bundle.denoiser, seed=seed) for each in (remote, local)]
        for index, image in enumerate(bundle.images[:images]):
            there, here = (each.explain(image) for each in asked)
            compare("attribution, of its largest value", there.values, here.values, here.values.abs().max().item())
            found, wanted = (each.counterfactual(image) for each in asked)
            compare("counterfactual, in grey levels of 255", found.image, wanted.image, 1 / 255)
            compare("counterfactual, its log-probabilities", found.log_probabilities, wanted.log_probabilities)
            assert (found.decision, found.queries) == (
                wanted.decision,
                wanted.queries + 1,
            )  # one repeats the image
            print(f"{index + 1}/{images}", file=sys.stderr, flush=True)
    for name, values in differences.items():
        print(f"{name}: largest difference {max(values):.2e}, exactly equal in {values.count(0.0)} of {len(values)}")


if __name__ == "__main__":
    app()
