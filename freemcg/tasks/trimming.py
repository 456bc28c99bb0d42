"""Trim a counterfactual: keep the regions of its change that speak for the target, and give the others back.

A search changes the whole image, since the noise of its gradients goes everywhere. The decision rests on some regions
of the change. Random halves tell which: the black box is queried about the input with half of the regions changed, and
with the other half. A linear model of the log-odds then says what each region adds.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import einsum
from torch import Tensor

from freemcg.blackbox import QueryBudgetExceeded
from freemcg.blackbox.preparation import as_file
from freemcg.diffusion.noise import particle_noise
from freemcg.gradient.objective import log_odds
from freemcg.results import Status
from freemcg.tasks.checks import Checked, Checker

MOST_A_SIDE = 8
KEPT = (0.9, 0.98, 1.0)
FACTOR = 1.3
RIDGE = 1.0


def trimmed(checker: Checker, answer: Checked, image: Tensor, queries: int) -> Checked:
    """`answer`, with what its change needs least given back to `image` `(C, H, W)`, and the rest made larger.

    The regions that add most log-odds per change are kept, until they have 90 % of what speaks for the target. Their
    change is multiplied by 1.3. If the file of that changes less (L1) and is at least as sure of the target, it is
    returned. Else 98 % and 100 % are tried, and then `answer` is returned as it is. So no answer gets less sure or
    farther away, and one that was not decided as the target may become so.

    To learn from halves what regions add is from LIME (Ribeiro et al. 2016, arXiv:1602.04938). To give back what a
    counterfactual does not need is from DiCE (Mothilal et al. 2020, arXiv:1905.07697, "sparsity"). The shares and the
    factor were chosen on training images of CIFAR-10.

    It costs at most `queries`: up to three checks, and the others for halves, two for each region or more. Regions are
    a grid of up to 8x8 with soft edges. Nothing is asked if the black box has fewer left, or gave no signal.
    """
    left = checker.black_box.remaining
    if queries == 0 or (left is not None and left < queries) or answer.status == Status.NO_SIGNAL:
        return answer
    pairs = (queries - len(KEPT)) // 2
    regions = soft_regions(min(MOST_A_SIDE, math.isqrt(pairs)), image)
    change = answer.image - image
    costs = einsum(regions, change.abs(), "n h w, c h w -> n")
    before = log_odds(answer.log_probabilities[None], checker.target)
    try:
        adds = what_regions_add(checker, image, change, regions, pairs)
        for share in KEPT:
            kept = most_for_their_cost(adds, costs, share)
            smaller = as_file((image + FACTOR * change * einsum(kept, regions, "n, n h w -> h w")).clamp(0, 1))
            if (smaller - image).abs().sum() >= change.abs().sum():
                break
            row = checker.black_box(smaller[None])
            if log_odds(row, checker.target) >= before:
                status = Status.COMPLETE if int(row[0].argmax()) == checker.target else answer.status
                chance = row[0, checker.target].exp().item()
                return Checked(smaller, answer.index, row[0], status, chance, (int(kept.sum()), len(regions)))
    except QueryBudgetExceeded:  # during retries
        pass
    return answer


def soft_regions(side: int, image: Tensor) -> Tensor:
    """A grid of `side * side` regions of `image` `(C, H, W)`, `(side * side, H, W)`. In each pixel they sum to 1."""
    cells = torch.eye(side * side).reshape(-1, 1, side, side).to(image)
    grown = F.interpolate(cells, size=image.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    return grown / grown.sum(dim=0)


def what_regions_add(checker: Checker, image: Tensor, change: Tensor, regions: Tensor, pairs: int) -> Tensor:
    """The log-odds of the target that the change in each region adds, `(N,)`, by least squares with a small ridge.

    It costs two queries for each of `pairs` random halves: one with that half of the change, one with the other half.
    """
    half = (particle_noise(checker.seed, "halves", 0, pairs, (len(regions),)) > 0).to(image)
    halves = torch.cat([half, 1 - half])
    images = image + einsum(halves, regions, "k n, n h w -> k h w")[:, None] * change
    answers = checker.black_box(images.clamp(0, 1))
    values = log_odds(answers, checker.target).to(image)
    signs = halves - 0.5
    gram = signs.T @ signs + RIDGE * torch.eye(len(regions)).to(image)
    adds: Tensor = torch.linalg.solve(gram, signs.T @ (values - values.mean()))
    return adds


def most_for_their_cost(adds: Tensor, costs: Tensor, share: float) -> Tensor:
    """Which regions to keep, `(N,)` of 0 and 1: those that add most per cost, until they have a `share` of all gains.

    This is the greedy rule for the knapsack problem (Dantzig 1957). A region that adds nothing is never kept.
    """
    gains = adds.clamp(min=0)
    order = (gains / costs.clamp(min=torch.finfo(costs.dtype).tiny)).argsort(descending=True)
    reached = gains[order].cumsum(dim=0) - gains[order]  # by the regions before each
    kept = torch.zeros_like(gains)
    kept[order] = ((reached < share * gains.sum()) & (gains[order] > 0)).to(gains)
    return kept
