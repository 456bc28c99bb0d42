"""Insertion and deletion (Petsiuk, Das, Saenko 2018, arXiv:1806.07421): does a map rank the pixels that decide?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from freemcg.blackbox import BlackBox, check_images
from freemcg.diffusion.noise import generator_for
from freemcg.evaluation.blur import gaussian_blur
from freemcg.messages.errors import InvalidValue

REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sum": lambda maps: maps.sum(dim=1),
    "abs_sum": lambda maps: maps.sum(dim=1).abs(),
    "sum_abs": lambda maps: maps.abs().sum(dim=1),
    "max_abs": lambda maps: maps.abs().amax(dim=1),
}


@dataclass(frozen=True)
class InsertionDeletion:
    """The result of insertion and deletion, float64.

    Attributes:
        insertion, deletion: areas under the curves, `(N,)` in [0, 1]. Higher insertion and lower deletion are better.
        insertion_curves, deletion_curves: the probability of the target after each step, `(N, steps + 1)`, with both
            ends.
    """

    insertion: Tensor
    deletion: Tensor
    insertion_curves: Tensor
    deletion_curves: Tensor


def mean_colour(images: Tensor) -> Tensor:
    """The mean colour of each image, everywhere."""
    return images.mean(dim=(2, 3), keepdim=True).expand_as(images)


def blurred(images: Tensor) -> Tensor:
    """Each image under a Gaussian blur of a quarter of its shorter side, mirrored at its edges."""
    return gaussian_blur(images, min(images.shape[2:]) / 4).clamp(0, 1)


def insertion_deletion(
    black_box: BlackBox,
    images: Tensor,
    attributions: Tensor,
    targets: Tensor,
    *,
    steps: int = 32,
    reduction: str = "sum",
    fill: Callable[[Tensor], Tensor] = mean_colour,
    start: Callable[[Tensor], Tensor] = blurred,
    seed: int = 0,
) -> InsertionDeletion:
    """Areas under the probability of the target, as pixels are deleted or inserted in the order of an attribution.

    Deletion replaces pixels of the image by those of `fill(images)`. Insertion replaces pixels of `start(images)` by
    the image's. Both take the most salient pixels first, with all their channels at once. After step `k` of `n`,
    `round(k P / n)` of the `P` pixels are replaced. The area is that of the trapezoids over the `n + 1` points, divided
    by `n`.

    Args:
        black_box: its probabilities are read. Give a separate one, so that no method is charged for being measured.
        images: `(N, C, H, W)` in [0, 1].
        attributions: attributions of the same shape.
        targets: the class of each image, `(N,)`.
        steps: `n`, at most `H * W`. With the height of the image, each step takes as many pixels as a row has, as
            published.
        reduction: how a pixel's saliency comes from its channels: `"sum"`, `"abs_sum"`, `"sum_abs"` or `"max_abs"`. The
            sum keeps the sign, so pixels that speak against the target come last. This is our choice, for signed
            attributions.
        fill: maps images to what deletion leaves. The published fill is the mean colour of the classifier's training
            data. A black box does not tell that, so by our choice it is the mean colour of the image.
        start: maps images to what insertion begins with. The published blur, 5 pixels cut to 11x11, is for images of
            224x224 and leaves a 32x32 digit readable. By our choice the default's blur grows with the image.
        seed: the seed of the order of equally salient pixels. It is random, and the same for every image.

    An image costs `2 * steps + 1` queries, since the image itself is in both curves.

    Raises:
        ValueError: the shapes differ, an attribution is NaN or infinite, or an argument is out of range.
    """
    check_images(images)
    count, _, height, width = images.shape
    if attributions.shape != images.shape or targets.shape != (count,):
        raise InvalidValue(
            f"for images {tuple(images.shape)} give attributions of the same shape and {count} targets, got "
            f"{tuple(attributions.shape)} and {tuple(targets.shape)}"
        )
    if not attributions.isfinite().all():
        raise InvalidValue("attributions hold NaN or infinity, which have no rank")
    if not 1 <= steps <= height * width:
        raise InvalidValue(f"steps must be in 1..{height * width}, the pixels of an image, got {steps}")
    if reduction not in REDUCTIONS:
        raise InvalidValue(f"reduction must be one of {', '.join(REDUCTIONS)}, got {reduction!r}")
    ranks = saliency_ranks(REDUCTIONS[reduction](attributions), seed=seed)
    exchanged = torch.tensor([round(step * height * width / steps) for step in range(steps + 1)])
    insertion, deletion = [], []
    rest = zip(images, fill(images), start(images), ranks, targets.tolist(), strict=True)
    for image, gone, hidden, rank, target in rest:
        done = (rank < exchanged[:, None, None]).to(image.device)[:, None]
        deleted, inserted = torch.where(done, gone, image), torch.where(done[:-1], image, hidden)
        answers = black_box(torch.cat([deleted, inserted]))[:, target].double().exp()
        deletion.append(answers[: steps + 1])
        insertion.append(torch.cat([answers[steps + 1 :], answers[:1]]))
    curves = torch.stack(insertion), torch.stack(deletion)
    return InsertionDeletion(area(curves[0]), area(curves[1]), *curves)


def saliency_ranks(saliency: Tensor, *, seed: int) -> Tensor:
    """The rank of each pixel of `(N, H, W)`, 0 for the most salient, on the CPU. Ties are in random order."""
    flat = saliency.detach().cpu().flatten(1)
    shuffled = torch.randperm(flat.shape[1], generator=generator_for(seed, "equally salient"))
    order = shuffled[flat[:, shuffled].argsort(dim=1, descending=True, stable=True)]
    return order.argsort(dim=1).reshape(saliency.shape)


def area(curves: Tensor) -> Tensor:
    """The area under each curve of `(N, n + 1)`, by trapezoids on [0, 1]. A constant curve gives its value."""
    return (curves.sum(dim=1) - curves[:, 0] / 2 - curves[:, -1] / 2) / (curves.shape[1] - 1)
