"""Does an attribution depend on how a function is written? Implementation invariance (Sundararajan et al. 2017)."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from freemcg.diffusion.noise import generator_for


def implementation_difference(model: nn.Module, attribute: Callable[[nn.Module], Tensor], *, seed: int = 0) -> Tensor:
    """Largest difference between attributions of `model` and of a rewritten copy that computes the same, `(N,)`.

    It is relative to the largest absolute value of the map. For an invariant method it is 0 up to rounding.

    Args:
        attribute: maps a model to attributions `(N, C, H, W)` of the same images, for the same classes.
    """
    before, after = attribute(model), attribute(rewritten(model, seed=seed))
    return (after - before).flatten(1).abs().amax(dim=1) / before.flatten(1).abs().amax(dim=1)


def rewritten(model: nn.Module, *, seed: int = 0) -> nn.Module:
    """A copy of `model` that computes the same function with other layers: each linear layer becomes two.

    The first computes `Q (W x + b)` with a random rotation `Q` of its outputs, and the second rotates them back. This
    is done to `nn.Linear` and to `nn.Conv2d` of one group. Other layers stay as they are.
    """
    holder = nn.ModuleDict({"model": copy.deepcopy(model)})
    for name, layer in list(holder.named_modules(remove_duplicate=False)):
        if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1):
            owner, _, own = name.rpartition(".")
            holder.get_submodule(owner).register_module(own, _two_layers(layer, generator_for(seed, "rewrite", name)))
    return holder["model"]


def _two_layers(layer: nn.Linear | nn.Conv2d, generator: torch.Generator) -> nn.Module:
    weight, outputs = layer.weight.detach(), len(layer.weight)
    rotation = torch.linalg.qr(torch.randn(outputs, outputs, generator=generator, dtype=torch.double))[0]
    turned = copy.deepcopy(layer)
    back = nn.Linear(outputs, outputs, bias=False) if weight.ndim == 2 else nn.Conv2d(outputs, outputs, 1, bias=False)
    back = back.to(weight).train(layer.training).requires_grad_(weight.requires_grad)
    rotation = rotation.to(weight.device)
    with torch.no_grad():
        turned.weight.copy_((rotation @ weight.double().flatten(1)).reshape(weight.shape))
        back.weight.copy_(rotation.T.reshape(back.weight.shape))
        if turned.bias is not None:
            turned.bias.copy_(rotation @ turned.bias.double())
    return nn.Sequential(turned, back).train(layer.training)
