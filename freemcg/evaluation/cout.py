"""COUT (Khorram, Fuxin 2022, arXiv:2203.15064): do few pixels change the decision, those that change most?"""

from __future__ import annotations

import torch
from torch import Tensor

from freemcg.blackbox import BlackBox
from freemcg.evaluation.insertion_deletion import area
from freemcg.evaluation.saliency import check_maps, saliency_ranks
from freemcg.messages.errors import InvalidValue


def cout(
    black_box: BlackBox,
    images: Tensor,
    counterfactuals: Tensor,
    targets: Tensor,
    origins: Tensor,
    *,
    steps: int = 50,
    seed: int = 0,
) -> Tensor:
    """The area under `p_target` minus that under `p_origin`, as pixels are exchanged, `(N,)` float64 in [-1, 1].

    The pixels of a counterfactual go into its image, those first that change most over all channels. Higher is better:
    a few pixels suffice. A counterfactual that equals its image has 0, by definition. Take images that are decided
    rightly, flipped or not, as published. The area is divided by the number of intervals; the published program's is
    up to 2 % wider.

    Args:
        black_box: its probabilities are read. Give a separate one, so that no method is charged for being measured.
        images, counterfactuals: `(N, C, H, W)` in [0, 1].
        targets, origins: the class that was sought, and the class of the image, `(N,)`.
        steps: the steps, at most `H * W`.
        seed: the seed of the order of pixels that change alike.

    A pair costs `steps + 1` queries.

    Raises:
        ValueError: the shapes differ, or `steps` is out of range.
    """
    check_maps(images, counterfactuals, targets)
    pixels = images[0, 0].numel()
    if not 1 <= steps <= pixels or origins.shape != targets.shape:
        raise InvalidValue(f"cout needs an origin for each target, and steps in 1..{pixels}, got {steps}")
    changes = counterfactuals - images
    ranks = saliency_ranks(changes, "sum_abs", seed=seed).to(images.device)
    exchanged = torch.tensor([round(step * pixels / steps) for step in range(steps + 1)], device=images.device)
    areas = []
    for image, other, rank, target, origin in zip(images, counterfactuals, ranks, targets, origins, strict=True):
        done = (rank < exchanged[:, None, None])[:, None]
        answers = black_box(torch.where(done, other, image)).double().exp()
        gained: Tensor = area((answers[:, target] - answers[:, origin])[None])[0]
        areas.append(gained * (other != image).any())
    return torch.stack(areas)
