"""Explain one image in the processes that the environment names; the main one saves the results.

    python tests/support/team.py OUT [RANK]

The data are Gaussian, so the denoiser is known in closed form. Each process writes how many images it denoised, how
many it asked the classifier about, and its number of threads. The denoiser of the process RANK answers NaN.
"""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

import torch
from accelerate import PartialState
from plane import Linear, make
from torch import Tensor

from freemcg import Denoiser

COUNT = 40  # not a multiple of the processes


class Gaussian:
    """`E[y | y + s eps]` of `y ~ N(1/2, R R^T)`, 4x4 images in a plane of 6 dimensions."""

    def __init__(self, *, fails: bool) -> None:
        root = 0.15 * torch.randn(16, 6, generator=torch.Generator().manual_seed(1), dtype=torch.double)
        self.covariance = root @ root.T + 1e-4 * torch.eye(16, dtype=torch.double)
        self.denoised, self.fails = 0, fails

    def __call__(self, noisy: Tensor, sigma: float) -> Tensor:
        self.denoised += len(noisy)
        if self.fails:
            return torch.full_like(noisy, math.nan)
        gain = torch.linalg.solve(self.covariance + sigma**2 * torch.eye(16, dtype=torch.double), self.covariance)
        return ((noisy.flatten(1).double() - 0.5) @ gain + 0.5).reshape(noisy.shape).to(noisy)


def main(out: Path, failing: str = "none") -> None:
    function, classifier = Gaussian(fails=os.environ.get("RANK") == failing), Linear().eval()
    denoiser = Denoiser.gaussian(function, sigmas=(0.004, 10.0), batch_size=16)
    image = 0.5 + 0.1 * torch.randn(1, 4, 4, generator=torch.Generator().manual_seed(2))
    with denoiser.shared() as leads:
        if leads:
            explainer = make(classifier, denoiser, particles=COUNT, queries=17)
            explainer.explain(image).save(out / "map.safetensors")
            explainer.counterfactual(image).save(out / "changed.safetensors")
    with (out / "counts.txt").open("a") as file:
        file.write(f"{function.denoised} {len(classifier.asked)} {torch.get_num_threads()}\n")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), *sys.argv[2:])
    finally:  # a group that is not left may abort its processes at their end
        PartialState().destroy_process_group()
