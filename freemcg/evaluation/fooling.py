"""Can an attribution be changed while the answers stay? The attack of Dombrowski et al. 2019 (arXiv:1906.07983)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from freemcg.identity.mode import refuse_training
from freemcg.messages.errors import InvalidValue


def fool_gradient(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    wanted: Tensor,
    *,
    reach: float = 16 / 255,
    steps: int = 200,
    learning_rate: float = 0.005,
    keep: float = 1.0,
    softness: float = 30.0,
    points: int = 0,
) -> Tensor:
    """Images that `model` answers as it answers `images`, but whose gradient maps are like `wanted`.

    Adam minimises `|h - h_wanted|^2 / |h_wanted|^2 + keep * mean (f - f_0)^2`. Here `f` are the logits, and `h` is the
    absolute gradient of the target's logit, summed over channels and divided by its sum. With `points`, Integrated
    Gradients from black take the gradient's place, as in Zaher et al. 2024 (arXiv:2405.09800). After each step an image
    is clipped to [0, 1] and to `reach` around its start. An `nn.ReLU` has no useful second derivative. So, as in the
    paper, the attack uses a copy of the model with `softplus(softness x) / softness` in its place. The bound `reach` is
    ours; it replaces the paper's small learning rate. The result is the image with the least loss among those met.

    Args:
        model: maps images `(N, C, H, W)` in [0, 1] to logits, in eval mode; it is left as it was found.
        images: `(N, C, H, W)`.
        targets: the classes whose gradients are changed, `(N,)`.
        wanted: attributions `(N, C, H, W)`, in any scale. Each is summed and divided as `h` is.
        reach: the largest change of a pixel, in [0, 1].
        steps: the number of steps; 0 returns `images`.
        learning_rate: the rate of Adam.
        keep: the weight of the change of the logits.
        softness: the sharpness of the softplus: the larger, the nearer to a ReLU.
        points: the gradients along the line of Integrated Gradients; 0 attacks the gradient itself.

    An image costs `(steps + 1) * max(points, 1)` second derivatives.

    Raises:
        ValueError: a part of the model is in training mode, or the numbers of targets, wanted maps and images differ.
    """
    refuse_training(model, "model")
    if wanted.shape != images.shape or targets.shape != images.shape[:1]:
        raise InvalidValue(
            f"for images {tuple(images.shape)} give as many targets and maps of the same shape, got "
            f"{tuple(targets.shape)} and {tuple(wanted.shape)}"
        )
    soft = softened(model, softness)
    wanted_maps = gradient_shares(wanted)
    with torch.no_grad():
        logits = soft(images)
    low, high = (images - reach).clamp(min=0), (images + reach).clamp(max=1)
    current = images.detach().clone().requires_grad_(True)
    optimiser = torch.optim.Adam([current], lr=learning_rate)
    best, least = images.detach().clone(), torch.full((len(images),), float("inf")).to(images)
    with torch.enable_grad():
        for step in range(steps + 1):
            answers = soft(current)
            shares = gradient_shares(attacked_map(soft, current, targets, points))
            missed = (shares - wanted_maps).square().flatten(1).sum(dim=1)
            loss = missed / wanted_maps.square().flatten(1).sum(dim=1) + keep * (answers - logits).square().mean(dim=1)
            better = loss.detach() < least
            least = torch.where(better, loss.detach(), least)
            best[better] = current.detach()[better]
            if step == steps:
                break
            (current.grad,) = torch.autograd.grad(loss.sum(), current)
            optimiser.step()
            current.data = torch.minimum(torch.maximum(current.data, low), high)
    return best


def attacked_map(model: nn.Module, images: Tensor, targets: Tensor, points: int) -> Tensor:
    """The map under attack, with its graph: the gradient, or Integrated Gradients from black."""
    middles = (torch.arange(points).to(images) + 0.5) / points if points else images.new_ones(1)
    line = (middles[:, None, None, None, None] * images).flatten(0, 1)
    scores = model(line).gather(1, targets.repeat(len(middles))[:, None]).sum()
    (slopes,) = torch.autograd.grad(scores, line, create_graph=True)
    mean: Tensor = slopes.unflatten(0, (len(middles), -1)).mean(dim=0)
    return mean * images if points else mean


def gradient_shares(maps: Tensor) -> Tensor:
    """Absolute values of `(N, C, H, W)`, summed over channels and divided by their sum, `(N, H, W)`."""
    magnitude = maps.abs().sum(dim=1)
    return magnitude / magnitude.sum(dim=(1, 2), keepdim=True).clamp(min=1e-12)


def softened(model: nn.Module, softness: float) -> nn.Module:
    """A copy of `model` in which each `nn.ReLU` is a softplus, which differs by at most `ln 2 / softness`."""
    copied = copy.deepcopy(model).requires_grad_(False)
    for name, module in list(copied.named_modules(remove_duplicate=False)):
        if isinstance(module, nn.ReLU):
            owner, _, own = name.rpartition(".")
            setattr(copied.get_submodule(owner), own, nn.Softplus(beta=softness))
    return copied
