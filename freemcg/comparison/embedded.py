"""Counterfactuals in the features of a network: is each like its image, and is each folder like known pictures?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from freemcg.evaluation.frechet import feature_similarity, frechet_distance, split_frechet_distance
from freemcg.messages.errors import InvalidValue
from freemcg.results import Counterfactual

FRECHET, SPLIT = "frechet", "split frechet"


@dataclass(frozen=True)
class Embedded:
    """What features tell. See `freemcg.evaluation.frechet` for the measures.

    Attributes:
        length: the length of the features.
        similarity: of each counterfactual with its image, `(folders, images)` in [-1, 1].
        distances: of each folder, `(folders,)` float64, by measure. `split frechet` is its distance from the images,
            `frechet` that from known pictures, if there are any.
        of_images: the same distances of the images themselves. Their bias is the same.
    """

    length: int
    similarity: Tensor
    distances: dict[str, Tensor]
    of_images: dict[str, float]


def check_counts(images: int, known: Tensor | None) -> None:
    """Refuse too few pictures for a Frechet distance.

    Raises:
        ValueError: there are fewer than four images, or fewer than two known pictures.
    """
    if images < 4:
        raise InvalidValue(f"--features compares sets: all folders must have at least 4 pictures, and have {images}")
    if known is not None and len(known) < 2:
        raise InvalidValue(
            f"--features compares sets: --references must hold at least 2 pictures, and has {len(known)}"
        )


def embed(
    sides: Mapping[str, Mapping[str, Counterfactual]], features: Callable[[Tensor], Tensor], known: Tensor | None
) -> Embedded:
    """Measure counterfactuals in features. Every counterfactual counts, flipped or not. It costs no query.

    Args:
        sides: by folder and picture; the pictures of all are the same.
        features: maps images `(N, C, H, W)` in [0, 1] to features `(N, F)`.
        known: images `(M, C, H, W)` from which the Frechet distance is taken, if there are any.
    """
    first = next(iter(sides.values()))
    images = features(torch.stack([result.original for result in first.values()]))
    answers = [features(torch.stack([result.image for result in side.values()])) for side in sides.values()]
    distances = {SPLIT: [split_frechet_distance(images, found) for found in (images, *answers)]}
    if known is not None:
        others = features(known)
        distances = {FRECHET: [frechet_distance(others, found) for found in (images, *answers)], **distances}
    return Embedded(
        images.shape[1],
        torch.stack([feature_similarity(images, found) for found in answers]),
        {name: torch.tensor(values[1:], dtype=torch.double) for name, values in distances.items()},
        {name: values[0] for name, values in distances.items()},
    )
