"""Does an attribution depend on what the model has learnt? Cascading randomisation (Adebayo et al. 2018)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from freemcg.diffusion.noise import generator_for
from freemcg.evaluation.correlation import spearman


@dataclass(frozen=True)
class RandomisationStage:
    """How similar the attributions are to those of the trained model, once its last layers are random.

    Attributes:
        layer: the first of the random layers; all layers after it are random too. `""` is the model as trained.
        signed, absolute: Spearman's correlation of the values and of their absolute values, `(N,)`.
    """

    layer: str
    signed: Tensor
    absolute: Tensor


def cascading_randomisation(
    model: nn.Module, attribute: Callable[[nn.Module], Tensor], *, seed: int = 0
) -> list[RandomisationStage]:
    """Compare attributions before and after the layers of `model` are made random, from the output down.

    The first stage repeats the attribution of the trained model. Its correlation is 1 if the method is deterministic. A
    method that does not depend on the model stays at 1 until the end. See arXiv:1810.03292.

    Args:
        model: the trained model. It is copied, and left as it was found.
        attribute: maps a model to attributions `(N, C, H, W)` of the same images, for the same classes.

    The cost is two attributions, and one more for each layer.
    """
    trained = attribute(model)
    stages = [("", model), *randomised(model, seed=seed)]
    maps = [(layer, attribute(each)) for layer, each in stages]
    return [
        RandomisationStage(layer, spearman(each, trained), spearman(each.abs(), trained.abs())) for layer, each in maps
    ]


def randomised(model: nn.Module, *, seed: int = 0) -> Iterator[tuple[str, nn.Module]]:
    """Copies of `model` whose last layer, last two layers, ... are initialised anew.

    Each copy comes with the name of the first of its new layers. A layer is a module with `reset_parameters`, which
    draws as it did when the layer was built. The last layer is the one registered last. The global generator of random
    numbers is left as it was.
    """
    names = [name for name, module in model.named_modules() if hasattr(module, "reset_parameters")]
    current = copy.deepcopy(model)
    for name in reversed(names):
        current = copy.deepcopy(current)
        layer = current.get_submodule(name)
        place = next((parameter.device for parameter in layer.parameters()), torch.device("cpu"))
        layer.cpu()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator_for(seed, "randomise", name).initial_seed())
            layer.reset_parameters()  # type: ignore[operator]
        layer.to(place)
        yield name, current
