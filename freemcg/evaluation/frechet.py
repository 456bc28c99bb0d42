"""Are counterfactuals like real images, in the features of any network? Frechet distance, split, and similarity."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from freemcg.diffusion.noise import generator_for
from freemcg.messages.errors import InvalidValue


def frechet_distance(features: Tensor, others: Tensor) -> float:
    """`|m - m'|^2 + tr(S + S' - 2 (S S')^1/2)` between Gaussians of `features` `(N, D)` and `others` `(M, D)`.

    Lower is better, in [0, inf). With Inception features it is the FID (Heusel et al. 2017, arXiv:1706.08500). It is
    biased for few images: take many more than `D`. It costs no query.

    Raises:
        ValueError: the features do not have the same length, or a set holds fewer than two images.
    """
    fit = features.ndim == others.ndim == 2 and features.shape[1] == others.shape[1]
    if not fit or min(len(features), len(others)) < 2:
        raise InvalidValue(
            f"features must be (N, D) and (M, D) of at least two images each, got {tuple(features.shape)} and "
            f"{tuple(others.shape)}"
        )
    first, second = features.double(), others.double()
    means = (first.mean(dim=0) - second.mean(dim=0)).square().sum()
    one, two = torch.cov(first.T).reshape(first.shape[1], -1), torch.cov(second.T).reshape(first.shape[1], -1)
    root = _root(one)
    common = torch.linalg.eigvalsh(root @ two @ root).clamp(min=0).sqrt().sum()  # the trace of (S S')^1/2
    return float((means + one.trace() + two.trace() - 2 * common).clamp(min=0))


def split_frechet_distance(features: Tensor, counterfactuals: Tensor, *, seed: int = 0) -> float:
    """The Frechet distance between the one half of the originals and the counterfactuals of the other half.

    A counterfactual is so near its original that the plain distance flatters it. So both are split at random in the
    same way, and the mean of the two crossed distances is taken: the sFID of ACE (Jeanneret et al. 2023,
    arXiv:2303.09962). Lower is better, in [0, inf).

    Args:
        features, counterfactuals: `(N, D)` each; row `i` of both belongs to one image.

    Raises:
        ValueError: the shapes differ, or there are fewer than four images.
    """
    if features.shape != counterfactuals.shape or len(features) < 4:
        raise InvalidValue(
            f"split features must be (N, D) of at least four images, for originals and counterfactuals alike, got "
            f"{tuple(features.shape)} and {tuple(counterfactuals.shape)}"
        )
    order = torch.randperm(len(features), generator=generator_for(seed, "split"))
    one, other = order[: len(order) // 2], order[len(order) // 2 :]
    crossed = ((one, other), (other, one))
    return sum(frechet_distance(features[half], counterfactuals[rest]) for half, rest in crossed) / 2


def feature_similarity(features: Tensor, counterfactuals: Tensor) -> Tensor:
    """The cosine between the features of an image and of its counterfactual, `(N,)` in [-1, 1]. Higher is closer.

    With a SimSiam network it is S3 (Jeanneret et al. 2023, arXiv:2303.09962).
    """
    return F.cosine_similarity(features.double(), counterfactuals.double(), dim=1)


def _root(matrix: Tensor) -> Tensor:
    """The square root of a symmetric matrix without negative eigenvalues, but for rounding."""
    values, vectors = torch.linalg.eigh(matrix)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root
