"""Insertion and deletion (Petsiuk, Das, Saenko 2018, arXiv:1806.07421): does a map rank the pixels that decide?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from freemcg.blackbox import BlackBox
from freemcg.evaluation.infill import Infill, blurred, mean_colour
from freemcg.evaluation.saliency import check_maps, saliency_ranks
from freemcg.messages.errors import InvalidValue


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


def insertion_deletion(
    black_box: BlackBox,
    images: Tensor,
    attributions: Tensor,
    targets: Tensor,
    *,
    steps: int = 32,
    reduction: str = "sum",
    fill: Infill = mean_colour,
    start: Infill = blurred,
    seed: int = 0,
) -> InsertionDeletion:
    """Areas under the probability of the target, as pixels are deleted or inserted in the order of an attribution.

    Deletion removes pixels of the image, and `fill` puts something in their place. Insertion begins with all pixels
    removed, for which `start` stands in, and puts them back. Both take the most salient pixels first, with all their
    channels at once. After step `k` of `n`, `round(k P / n)` of the `P` pixels are replaced. The area is that of the
    trapezoids over the `n + 1` points, divided by `n`.

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
        fill: the infill of deletion (`freemcg.evaluation.infill`). The published one is the mean colour of the
            classifier's training data. A black box does not tell that, so by our choice it is that of the image.
        start: the infill of insertion. The published blur, 5 pixels cut to 11x11, is for images of 224x224 and leaves a
            32x32 digit readable. By our choice the default's blur grows with the image.
        seed: the seed of the order of equally salient pixels. It is random, and the same for every image.

    An image costs `2 * steps + 1` queries, since the image itself is in both curves.

    Raises:
        ValueError: the shapes differ, an attribution is NaN or infinite, or an argument is out of range.
    """
    check_maps(images, attributions, targets)
    height, width = images.shape[2:]
    if not 1 <= steps <= height * width:
        raise InvalidValue(f"steps must be in 1..{height * width}, the pixels of an image, got {steps}")
    ranks = saliency_ranks(attributions, reduction, seed=seed).to(images.device)
    exchanged = torch.tensor([round(step * height * width / steps) for step in range(steps + 1)])
    exchanged = exchanged.to(images.device)[:, None, None]
    insertion, deletion = [], []
    for image, rank, target in zip(images, ranks, targets.tolist(), strict=True):
        done = rank < exchanged
        questions = torch.cat([fill(image, done), start(image, ~done[:-1])])
        answers = black_box(questions)[:, target].double().exp()
        deletion.append(answers[: steps + 1])
        insertion.append(torch.cat([answers[steps + 1 :], answers[:1]]))
    curves = torch.stack(insertion), torch.stack(deletion)
    return InsertionDeletion(area(curves[0]), area(curves[1]), *curves)


def area(curves: Tensor) -> Tensor:
    """The area under each curve of `(N, n + 1)`, by trapezoids on [0, 1]. A constant curve gives its value."""
    return (curves.sum(dim=1) - curves[:, 0] / 2 - curves[:, -1] / 2) / (curves.shape[1] - 1)
