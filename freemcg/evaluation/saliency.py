"""The order of an image's pixels under an attribution."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from freemcg.blackbox import check_images
from freemcg.diffusion.noise import generator_for
from freemcg.messages.errors import InvalidValue

REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sum": lambda maps: maps.sum(dim=1),
    "abs_sum": lambda maps: maps.sum(dim=1).abs(),
    "sum_abs": lambda maps: maps.abs().sum(dim=1),
    "max_abs": lambda maps: maps.abs().amax(dim=1),
}
"""How a pixel's saliency comes from its channels: `(N, C, H, W)` to `(N, H, W)`. `"sum"` keeps the sign."""


def check_maps(images: Tensor, attributions: Tensor, targets: Tensor) -> None:
    """Refuse what is no attribution of `images` `(N, C, H, W)` for `targets` `(N,)`.

    Raises:
        ValueError: the shapes differ, or an attribution is NaN or infinite.
    """
    check_images(images)
    count = len(images)
    if attributions.shape != images.shape or targets.shape != (count,):
        raise InvalidValue(
            f"for images {tuple(images.shape)} give attributions of the same shape and {count} targets, got "
            f"{tuple(attributions.shape)} and {tuple(targets.shape)}"
        )
    if not attributions.isfinite().all():
        raise InvalidValue("attributions hold NaN or infinity, which have no rank")


def saliency_ranks(attributions: Tensor, reduction: str = "sum", *, seed: int = 0) -> Tensor:
    """The rank of each pixel of attributions `(N, C, H, W)`, 0 for the most salient, `(N, H, W)` on the CPU.

    Equally salient pixels are in random order, which is the same for every image.

    Raises:
        ValueError: there is no such reduction.
    """
    if reduction not in REDUCTIONS:
        raise InvalidValue(f"reduction must be one of {', '.join(REDUCTIONS)}, got {reduction!r}")
    saliency = REDUCTIONS[reduction](attributions).detach().cpu()
    flat = saliency.flatten(1)
    shuffled = torch.randperm(flat.shape[1], generator=generator_for(seed, "equally salient"))
    order = shuffled[flat[:, shuffled].argsort(dim=1, descending=True, stable=True)]
    return order.argsort(dim=1).reshape(saliency.shape)
