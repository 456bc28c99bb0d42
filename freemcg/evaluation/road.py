"""ROAD, remove and debias (Rong et al. 2022, arXiv:2202.00449): do removed pixels decide, if no edge betrays them?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from freemcg.blackbox import BlackBox
from freemcg.evaluation.imputation import NoisyLinear
from freemcg.evaluation.infill import Infill
from freemcg.evaluation.saliency import check_maps, saliency_ranks
from freemcg.messages.errors import InvalidValue

FRACTIONS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)


@dataclass(frozen=True)
class Road:
    """What is left of the decision when pixels are removed, at each of `F` fractions of the pixels.

    Attributes:
        most_first, least_first: the share of the fractions at which the model still decides the target, `(N,)` float64
            in [0, 1]. Of the most salient pixels first, lower is better. Of the least salient first, higher is better.
            Means over images are those of the published accuracies over the fractions.
        most_first_curves, least_first_curves: the probability of the target, `(N, F)` float64.
    """

    most_first: Tensor
    least_first: Tensor
    most_first_curves: Tensor
    least_first_curves: Tensor


def road(
    black_box: BlackBox,
    images: Tensor,
    attributions: Tensor,
    targets: Tensor,
    *,
    fractions: tuple[float, ...] = FRACTIONS,
    reduction: str = "sum",
    infill: Infill | None = None,
    seed: int = 0,
) -> Road:
    """Remove the most and the least salient pixels of images, impute them from the rest, and ask again.

    An attribution that ranks the deciding pixels first loses the decision early in the first case, and late in the
    second. Since the imputed pixels fit to those around them, the shape of what was removed betrays little.

    Args:
        black_box: its decisions are read. Give a separate one, so that no method is charged for being measured.
        images: `(N, C, H, W)` in [0, 1].
        attributions: attributions of the same shape.
        targets: the class of each image, `(N,)`.
        fractions: the fractions of the pixels that are removed, in (0, 1). The published ones are the default.
        reduction: how a pixel's saliency comes from its channels; see `REDUCTIONS`.
        infill: what replaces removed pixels; `None` is the published `NoisyLinear`.
        seed: the seed of the noise, and of the order of equally salient pixels.

    An image costs `2 * len(fractions)` queries.

    Raises:
        ValueError: the shapes differ, an attribution is NaN or infinite, or an argument is out of range.
    """
    check_maps(images, attributions, targets)
    if not fractions or not all(0 < each < 1 for each in fractions):
        raise InvalidValue(f"fractions must lie between 0 and 1, got {fractions}")
    infill = infill or NoisyLinear(seed=seed)
    ranks = saliency_ranks(attributions, reduction, seed=seed).to(images.device)
    pixels = ranks[0].numel()
    counts = torch.tensor([round(each * pixels) for each in fractions], device=ranks.device)[:, None, None]
    decided, probabilities = [], []
    for image, rank, target in zip(images, ranks, targets.tolist(), strict=True):
        removed = torch.cat([rank < counts, rank >= pixels - counts])
        answers = black_box(infill(image, removed)).double()
        decided.append(answers.argmax(dim=1) == target)
        probabilities.append(answers[:, target].exp())
    shares = [part.double().mean(dim=1) for part in torch.stack(decided).chunk(2, dim=1)]
    most, least = torch.stack(probabilities).chunk(2, dim=1)
    return Road(shares[0], shares[1], most, least)
