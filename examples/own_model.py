"""Explain a PyTorch model of your own: what would move its score, and what would make it decide otherwise.

    python examples/own_model.py

To make it yours, put your network in the place of `trained_network`, your images in the place of the digits, and name
a diffusion model of your kind of image: `Denoiser.from_pretrained("path/or/hub-id")`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from freemcg import BlackBox, FreeMCG, load_bundle


def trained_network(images: Tensor, labels: Tensor, *, steps: int = 200) -> nn.Module:
    """A small network, trained for some seconds."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 16, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(16, 32, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 8 * 8, 10),
    )
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(steps):
        chosen = torch.randint(len(images), (32,))
        loss = F.cross_entropy(network(images[chosen]), labels[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval()


def main() -> None:
    """Explain one digit, and save what is found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("own-model"))
    out = parser.parse_args().out

    digits = load_bundle()
    network = trained_network(digits.images[:350], digits.labels[:350])
    image = digits.images[400]

    box = BlackBox(network, scores="logits", class_names=digits.class_names, budget=200)
    explainer = FreeMCG(box, digits.denoiser, seed=0)

    attribution = explainer.explain(image)
    attribution.save(out / "attribution.safetensors")
    attribution.plot().savefig(out / "attribution.png")
    print(f"decided {digits.class_names[attribution.decision]}; reliability of the map {attribution.reliability:.2f}")

    result = explainer.counterfactual(image)
    result.save(out / "counterfactual.safetensors")
    result.plot().savefig(out / "counterfactual.png")
    print(f"changed to {digits.class_names[result.decision]} ({result.status}), L1 {result.l1:.3f}")
    print(f"{box.queries} of {box.budget} queries; see {out}")


if __name__ == "__main__":
    main()
