"""In how many directions do realistic images near an image differ? The least, mean and most over held-out images.

python tests/benchmarks/directions.py --data digits
python tests/benchmarks/directions.py --data cifar10 --images 60
"""

from __future__ import annotations

from pathlib import Path

import torch
import typer
from data_sets import MNIST, MODELS, load_images, load_models

from freemcg.ensemble import effective_dimension
from freemcg.gradient.directions import LEVEL, PARTICLES
from freemcg.gradient.estimator import Ensemble

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__, rich_markup_mode=None)


@app.command()
def main(
    data: str = "digits",
    images: int = 60,
    noise: float = LEVEL,
    seed: int = 0,
    mnist: Path = MNIST,
    models: Path = MODELS,
) -> None:
    """Print the effective dimension of the particles that a search counts. No classifier is asked."""
    denoiser = load_models(data, models).denoiser
    found = torch.tensor(
        [
            effective_dimension(
                Ensemble(denoiser, image, denoiser.timestep(noise), particles=PARTICLES, seed=seed).particles
            )
            for image in load_images(data, "test", first=0, count=images, mnist=mnist)
        ]
    )
    print(f"{data}, noise {noise:g}, {images} images: {found.min():.1f} to {found.max():.1f}, mean {found.mean():.1f}")


if __name__ == "__main__":
    app()
