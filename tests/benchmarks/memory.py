"""What sets the peak of memory: the denoiser's batch, or the number of particles and of images?

python tests/benchmarks/memory.py                        1,024 particles against 64, and 1,000 images against 10
python tests/benchmarks/memory.py --most-images 40

Each figure is the peak of a process of its own. The network is untrained, since memory does not depend on weights.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import typer
from diffusers import DDPMScheduler, UNet2DModel
from PIL import Image
from torch import Tensor

from freemcg import BlackBox, Denoiser, FreeMCG
from freemcg.jobs.listing import list_pictures
from freemcg.jobs.run import run_job

SIDE, SMALL = 64, 16
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__, rich_markup_mode=None)


def unet(side: int, width: int = 32) -> UNet2DModel:
    """An untrained network for RGB images, with `width`, `2 width` and `2 width` channels at its three levels."""
    blocks = {
        "block_out_channels": (width, 2 * width, 2 * width),
        "layers_per_block": 1,
        "norm_num_groups": 8,
        "add_attention": False,
    }
    down, up = ("DownBlock2D",) * 3, ("UpBlock2D",) * 3
    return UNet2DModel(sample_size=side, down_block_types=down, up_block_types=up, **blocks).eval()


def left_and_right(images: Tensor) -> Tensor:
    """Two classes, by where the light is."""
    light = images.mean(dim=(1, 2))
    half = images.shape[3] // 2
    return torch.stack([light[:, :half].mean(dim=1), light[:, half:].mean(dim=1)], dim=1)


def explain_one(particles: int, batch_size: int) -> None:
    """Attribute one image, with so many particles."""
    denoiser = Denoiser(unet(SIDE), DDPMScheduler(), batch_size=batch_size)
    explainer = FreeMCG(BlackBox(left_and_right), denoiser, particles=particles)
    explainer.explain(torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)))


def explain_many(images: int, batch_size: int) -> None:
    """Explain a folder of so many images, and write the page of them."""
    denoiser = Denoiser(unet(SMALL), DDPMScheduler(), batch_size=batch_size)
    explainer = FreeMCG(BlackBox(left_and_right), denoiser, particles=8, queries=9)
    with TemporaryDirectory() as place:
        pictures = Path(place) / "pictures"
        pictures.mkdir()
        for number in range(images):
            pixels = np.random.default_rng(number).integers(0, 255, (SMALL, SMALL, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(pictures / f"{number:04d}.png")
        out = Path(place) / "out"
        run_job(explainer, list_pictures(pictures, out), out, task="attribution")


RUNS = {"particles": explain_one, "images": explain_many}


def peak(what: str, count: int, batch_size: int) -> float:
    """The peak of memory in MiB of a process that does one of `RUNS`."""
    words = [sys.executable, __file__, "--alone", what, "--count", str(count), "--batch-size", str(batch_size)]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return float(done.stdout.splitlines()[-1])


@app.command()
def main(
    few_particles: int = 64,
    most_particles: int = 1024,
    few_images: int = 10,
    most_images: int = 1000,
    batch_size: int = 16,
    alone: str = "",
    count: int = 0,
) -> None:
    """Print the peaks and their ratios. With `--alone`, be the process whose peak is measured."""
    if alone:
        RUNS[alone](count, batch_size)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)  # of kB, on Linux
        return
    for what, few, most in (("particles", few_particles, most_particles), ("images", few_images, most_images)):
        low, high = (peak(what, each, batch_size) for each in (few, most))
        print(f"{few} {what}: {low:.0f} MiB; {most} {what}: {high:.0f} MiB; ratio {high / low:.3f}")


if __name__ == "__main__":
    app()
