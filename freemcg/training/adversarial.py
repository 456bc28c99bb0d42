"""The adversary of adversarial training: projected gradient ascent (Madry et al. 2018, arXiv:1706.06083) in L2."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from freemcg.messages.errors import InvalidValue


def attack(
    model: nn.Module, images: Tensor, labels: Tensor, *, radius: float, steps: int, generator: torch.Generator
) -> Tensor:
    """Images near `images` on which the cross-entropy of `labels` is high.

    The attack starts at a uniform point in the ball and takes steps of `2.5 radius / steps` along the normalised
    gradient. After each step it projects onto the ball; all norms are those of one example. It also clips to [0, 1]
    after each step (our choice), which moves no example further from its image.

    Args:
        model: maps images to logits. It is attacked in eval mode, and then put back into its own mode. No gradient is
            stored in its parameters.
        images: `(N, C, H, W)` in [0, 1].
        labels: `(N,)`.
        radius: the radius of the ball around each image, in the L2 norm over its `C H W` values.
        steps: the gradients per image.
        generator: the generator of the start, on the CPU.

    Raises:
        ValueError: `radius` or `steps` is not positive.
    """
    if radius <= 0 or steps < 1:
        raise InvalidValue(f"radius must be > 0 and steps >= 1, got {radius} and {steps}")
    training = model.training
    model.eval()
    try:
        moved = (images + radius * _in_unit_ball(images, generator)).clamp(0, 1)
        for _ in range(steps):
            leaf = moved.detach().requires_grad_(True)
            with torch.enable_grad():
                (slope,) = torch.autograd.grad(F.cross_entropy(model(leaf), labels, reduction="sum"), leaf)
            change = moved + 2.5 * radius / steps * slope / _norms(slope) - images
            change = change * (radius / _norms(change)).clamp(max=1)
            moved = (images + change).clamp(0, 1)
    finally:
        model.train(training)
    return moved.detach()


def _in_unit_ball(images: Tensor, generator: torch.Generator) -> Tensor:
    """One point per image, uniform in the unit ball: a random direction at a distance `u^(1 / D)`."""
    directions = torch.randn(images.shape, generator=generator).to(images)
    distances = torch.rand(len(images), 1, 1, 1, generator=generator).to(images) ** (1 / images[0].numel())
    return directions / _norms(directions) * distances


def _norms(vectors: Tensor) -> Tensor:
    """The L2 norm of each example, `(N, 1, 1, 1)`, at least 1e-12."""
    norms: Tensor = vectors.flatten(1).norm(dim=1).clamp(min=1e-12)
    return norms[:, None, None, None]
