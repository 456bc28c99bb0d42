"""Which maps can be bent while the answers stay? Attacks on the image and on the weights, against every method.

    python tests/benchmarks/fooled.py --images 20

The figures are Pearson's correlation with the map before the attack (1 is right) and, for the attack on the weights,
the share of the map's absolute values in the square that the attack wants. The square is 8 pixels wide, at the lower
left.

- *Gradient*: the image is changed so that the classifier's gradient looks like that of another image (Dombrowski et al.
  2019).
- *Integrated Gradients*: the same, with Integrated Gradients in the gradient's place (Zaher et al. 2024).
- *Weights*: the classifier goes on learning from its own answers for the training images, and learns to have its
  gradient in the square (Heo et al. 2019). All held-out images are then explained with the new classifier.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
import typer
from torch import Tensor, nn

from baselines import METHODS
from freemcg import BlackBox, FreeMCG
from freemcg.comparison.contestants import entries_of, make_contestants
from freemcg.comparison.recipe import OURS
from freemcg.comparison.tangents import VaeTangents
from freemcg.evaluation import fool_gradient, fool_weights, mass_inside, mean_interval, pearson
from freemcg.models.bundle import Bundle, load_bundle
from freemcg.models.digits import load_scans, render
from freemcg.show.tables import print_table

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__, rich_markup_mode=None)
TOP, LEFT, SIDE = 20, 3, 8
POINTS = 5  # gradients of the attacked Integrated Gradients
REFERENCES = 8
KEEP = 0.1


@app.command()
def run(
    images: Annotated[int, typer.Option(min=2, help="How many held-out digits.")] = 20,
    queries: Annotated[int, typer.Option(min=20, help="The most queries, or gradients, of one map.")] = 64,
    methods: Annotated[str, typer.Option(help="Separated by commas.")] = ",".join((*OURS, *METHODS)),
    steps: Annotated[int, typer.Option(min=1, help="Steps of the attack on the weights.")] = 1000,
    attack_steps: Annotated[int, typer.Option(min=1, help="Steps of the attacks on the image.")] = 200,
    seed: int = 0,
) -> None:
    """Attack, explain before and after, and print a row for each method."""
    bundle = load_bundle("digits")
    network, pictures = bundle.classifier, bundle.images[:images]
    with torch.no_grad():
        targets = network(pictures).argmax(dim=1)
    training = render(load_scans("train")[0]).float() / 255
    square = torch.zeros(pictures.shape[1:])
    square[:, TOP : TOP + SIDE, LEFT : LEFT + SIDE] = 1
    other = pictures.roll(-1, dims=0)
    slopes, paths = (METHODS[name](network).attribute(other, targets) for name in ("gradient", "integrated_gradients"))
    bent = fool_gradient(network, pictures, targets, slopes, steps=attack_steps)
    bent_path = fool_gradient(network, pictures, targets, paths, steps=attack_steps, points=POINTS)
    fooled = fool_weights(network, training, square, steps=steps, keep=KEEP, seed=seed)
    say_what_stays(network, fooled, bundle.images, {"gradient": (pictures, bent), "path": (pictures, bent_path)})

    def explained(model: nn.Module, batch: Tensor) -> dict[str, Tensor]:
        return maps(methods.split(","), model, bundle, batch, targets, training[:REFERENCES], queries, seed)

    before, moved = explained(network, pictures), explained(network, bent)
    path, after = explained(network, bent_path), explained(fooled, pictures)
    masks = square[0].bool().expand(images, -1, -1)
    print_table(
        [
            {
                "method": name,
                "attack on the gradient": likeness(moved[name], found),
                "on Integrated Gradients": likeness(path[name], found),
                "on the weights": likeness(after[name], found),
                "in the square, before": inside(found, masks),
                "after": inside(after[name], masks),
            }
            for name, found in before.items()
        ]
    )


def likeness(maps: Tensor, others: Tensor) -> str:
    """The mean correlation of the maps. A map that became constant counts as 0."""
    return f"{mean_interval(pearson(maps, others).nan_to_num(0)):.3f}"


def inside(maps: Tensor, masks: Tensor) -> str:
    """The mean share of the maps in the square. A map of zeros has none and is left out."""
    shares = mass_inside(maps, masks)
    return f"{mean_interval(shares[~shares.isnan()]):.3f}"


def say_what_stays(
    network: nn.Module, fooled: nn.Module, held_out: Tensor, changed: dict[str, tuple[Tensor, Tensor]]
) -> None:
    """Print how far the answers move."""
    with torch.no_grad():
        for name, (images, bent) in changed.items():
            say_moved(f"attack on the {name}", network(images), network(bent))
        say_moved("attack on the weights, all held-out digits", network(held_out), fooled(held_out))


def say_moved(name: str, before: Tensor, after: Tensor) -> None:
    same = (before.argmax(dim=1) == after.argmax(dim=1)).float().mean()
    moved = (before.softmax(dim=1) - after.softmax(dim=1)).abs().amax(dim=1).mean()
    print(f"{name}: {same:.1%} keep their decision; the probability that moves most moves by {moved:.4f} on average")


def maps(
    methods: Sequence[str],
    network: nn.Module,
    bundle: Bundle,
    images: Tensor,
    targets: Tensor,
    references: Tensor,
    queries: int,
    seed: int,
) -> dict[str, Tensor]:
    """The maps of each method at the same cost, `(N, C, H, W)`."""
    assert bundle.vae is not None
    box = BlackBox(network)
    explainer = FreeMCG(box, bundle.denoiser, queries=queries, seed=seed)
    given = {"vae": bundle.vae, "references": references, "tangent_spaces": VaeTangents(bundle.vae), "seed": seed}
    found = {}
    for each in make_contestants(entries_of(methods, box), explainer, given):
        if each.attribute is None:
            raise typer.BadParameter(each.missing)
        pairs = zip(images, targets.tolist(), strict=True)
        found[each.name] = torch.cat([each.attribute(image[None], target) for image, target in pairs])
    return found


if __name__ == "__main__":
    app()
