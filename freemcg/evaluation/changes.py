"""How far is a counterfactual from its image, from others of the same image, and from what the classifier has seen?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from freemcg.messages.errors import InvalidValue


@dataclass(frozen=True)
class Changes:
    """How much images in [0, 1] change, float64. Lower is closer.

    Attributes:
        l1: the mean absolute change of a value, `(N,)` in [0, 1].
        l2: the length of the change divided by the root of the number of values, `(N,)` in [0, 1].
        share: the share of pixels in which a channel changes by more than the threshold, `(N,)` in [0, 1].
    """

    l1: Tensor
    l2: Tensor
    share: Tensor


def changes(images: Tensor, counterfactuals: Tensor, *, threshold: float = 1 / 255) -> Changes:
    """The changes between images and counterfactuals, `(N, C, H, W)` in [0, 1] each. They cost no query.

    Args:
        threshold: a change of at most so much does not count as one; one step of 8 bits by default.

    Raises:
        ValueError: the shapes differ.
    """
    if images.shape != counterfactuals.shape:
        shapes = f"{tuple(images.shape)} and {tuple(counterfactuals.shape)}"
        raise InvalidValue(f"images and counterfactuals must have one shape, got {shapes}")
    moved = (counterfactuals.double() - images.double()).abs()
    flat = moved.flatten(1)
    share = (moved.amax(dim=1) > threshold).flatten(1).double().mean(dim=1)
    return Changes(flat.mean(dim=1), flat.square().mean(dim=1).sqrt(), share)


def target_gain(before: Tensor, after: Tensor, targets: Tensor) -> Tensor:
    """How much the probability of the target rose, `(N,)` in [-1, 1]. Higher is better.

    Args:
        before, after: log-probabilities of the images and of the counterfactuals, `(N, num_classes)`, as a black box
            answers them. They cost two queries a pair.
        targets: `(N,)`.
    """
    risen = after.double().exp() - before.double().exp()
    return risen.gather(1, targets[:, None])[:, 0]


def diversity(counterfactuals: Tensor, distance: Callable[[Tensor, Tensor], Tensor] | None = None) -> float:
    """The mean distance between each two counterfactuals of one image, `(K, C, H, W)`, in [0, inf).

    Higher is more diverse; it is 0 if all are alike. It costs no query.

    Args:
        distance: maps two batches to distances `(P,)`. With LPIPS it is the sigma_L of DiME (Jeanneret et al. 2022,
            arXiv:2203.15636). `None` is the `l2` of `Changes`.

    Raises:
        ValueError: there are fewer than two.
    """
    if len(counterfactuals) < 2:
        raise InvalidValue(f"diversity needs at least two counterfactuals, got {len(counterfactuals)}")
    first, second = torch.triu_indices(len(counterfactuals), len(counterfactuals), offset=1)
    one, other = counterfactuals[first], counterfactuals[second]
    distances = changes(one, other).l2 if distance is None else distance(one, other)
    return distances.double().mean().item()


def nearest(counterfactuals: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """The distance to the nearest of the `known` images, and its number, `(N,)` each. It costs no query.

    Given training images of the target class, a small distance says that the counterfactual is realistic, and one near
    0 that it is a copy. Compare it with the distances of held-out images. The distance is the `l2` of `Changes`, in
    [0, 1].

    Args:
        counterfactuals: `(N, C, H, W)` in [0, 1].
        known: `(M, C, H, W)`, `M >= 1`.
    """
    flat, others = counterfactuals.double().flatten(1), known.double().flatten(1)
    distances = torch.cdist(flat, others, compute_mode="donot_use_mm_for_euclid_dist") / flat.shape[1] ** 0.5
    found = distances.min(dim=1)
    return found.values, found.indices
