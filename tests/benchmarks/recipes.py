"""The recipes of `freemcg compare` on other images than the bundled digits.

    python tests/benchmarks/recipes.py --data chest-xrays --models runs
    python tests/benchmarks/recipes.py --data cifar10 --models runs --recipes manifold-ig,guided-ig

The images are the first of the test split, or those from --first on, as many as the recipe says. The references are the
first of the training split. The first 229 X-rays show pneumonia, and the others none. The models are those of
data_sets.py, and a VAE in the folder DATA-vae of --models:

    freemcg train vae --config xray-vae --data ../shared/data/pneumonia.npz --out runs/chest-xrays-vae
    freemcg train vae --config cifar10-vae --data ../shared/data/cifar10-train.parquet --out runs/cifar10-vae
    freemcg train vae --config mnist-vae --data mnist/train --out runs/mnist-vae

frontier.py says how MNIST's pictures are made. A second start goes on with what is missing. Photographs are not
measured by `bright_object`: their objects need not be brighter than the ground.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from data_sets import BUNDLED, MNIST, MODELS, SHARED, load_images

from freemcg.commands.app import main
from freemcg.comparison.recipe import read_recipe, recipes
from freemcg.files.images import write_image
from freemcg.messages.terminal import say

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__, rich_markup_mode=None)
REFERENCES = 64
ON_BRIGHT = "bright_object"
NETWORK = """\
import sys
from pathlib import Path

sys.path.insert(0, {benchmarks!r})
from resnet import load_resnet

network = load_resnet(Path({weights!r}))
"""


@app.command()
def run(
    data: Annotated[str, typer.Option(help="mnist, chest-xrays or cifar10.")],
    names: Annotated[str, typer.Option("--recipes", help="Recipes, separated by commas.")] = ",".join(recipes()),
    images: Annotated[int | None, typer.Option(min=1, help="How many images.  [default: the recipe's]")] = None,
    first: Annotated[int, typer.Option(min=0, help="The number of the first test image.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder of the pictures and the comparisons.")] = Path("runs/recipes"),
    models: Annotated[Path, typer.Option(help="Folder of the trained models.")] = MODELS,
    mnist: Annotated[Path, typer.Option(help="MNIST as one .npz.")] = MNIST,
) -> None:
    """Write the pictures, and run each recipe."""
    folder = out / data
    vae = models / f"{data}-vae"
    if not vae.is_dir():
        raise typer.BadParameter(f"there is no VAE {vae}; train one as the head of {Path(__file__).name} says")
    references = written(data, "train", REFERENCES, folder / "references", mnist)
    for name in names.split(","):
        recipe = read_recipe(name)
        count = images or recipe.images
        say("", f"{name} on {data}")
        place = f"{name}-from-{first}" if first else name
        pictures = written(data, "test", count, folder / f"test-{first}-{count}", mnist, first=first)
        words = ["compare", str(pictures), "--config", name]
        words += ["--vae", str(vae), "--references", str(references), "--out", str(folder / place)]
        if data == "cifar10" and ON_BRIGHT in recipe.measures:
            words += ["--measures", ",".join(measure for measure in recipe.measures if measure != ON_BRIGHT)]
        if main([*words, *models_of(data, models, folder)]) != 0:
            raise typer.Exit(1)


def written(data: str, split: str, count: int, folder: Path, mnist: Path, *, first: int = 0) -> Path:
    """The folder of `count` images of a split from number `first` on, which are written if they are missing."""
    if not folder.is_dir() or len(list(folder.iterdir())) < count:
        folder.mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(load_images(data, split, first=first, count=count, mnist=mnist)):
            write_image(image, folder / f"{number:03d}.png")
    return folder


def models_of(data: str, models: Path, folder: Path) -> list[str]:
    """The options that name the classifier and the denoiser."""
    if data in BUNDLED:
        return ["--model", data, "--denoiser", data]
    if data == "mnist":
        return ["--model", str(models / "mnist-classifier"), "--denoiser", str(models / "mnist-denoiser")]
    file = folder / "network.py"
    weights = str((SHARED / "cifar10-resnet20.safetensors").absolute())
    file.write_text(NETWORK.format(benchmarks=str(Path(__file__).parent.absolute()), weights=weights))
    return ["--model", f"{file}:network", "--denoiser", "cifar10"]


if __name__ == "__main__":
    app()
