"""Measures of a set of counterfactuals: are they decided as the target, no mere trick, close, realistic, cheap?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from freemcg.evaluation.changes import changes, target_gain
from freemcg.evaluation.intervals import Interval, mean_interval, share_interval
from freemcg.results import Counterfactual


@dataclass(frozen=True)
class CounterfactualSummary:
    """Means over images, with 95 % intervals.

    Attributes:
        images: the number of images.
        flipped: the share that the black box decides as the target.
        judged: the share that an independent classifier decides as the target too. A trick on one network does not
            pass it.
        gain: how much the black box's probability of the target rose, in [-1, 1].
        l1: the mean absolute change of a pixel, in [0, 1].
        l2: the root of the mean square change of a pixel, in [0, 1].
        changed: the share of pixels that change by more than one step of 8 bits.
        realism: the denoising error divided by that of the input.
        queries, most_queries: the mean and the maximum of the queries.
        seconds: the mean time.
    """

    images: int
    flipped: Interval
    judged: Interval
    gain: Interval
    l1: Interval
    l2: Interval
    changed: Interval
    realism: Interval
    queries: float
    most_queries: int
    seconds: float


def summarise(results: Sequence[Counterfactual], judge: Callable[[Tensor], Tensor]) -> CounterfactualSummary:
    """Summarise counterfactuals. `judge` maps images `(N, C, H, W)` in [0, 1] to scores `(N, num_classes)`."""
    with torch.no_grad():
        verdicts = judge(torch.stack([result.image for result in results])).argmax(dim=1).tolist()
    moved = changes(torch.stack([r.original for r in results]), torch.stack([r.image for r in results]))
    before, after = (torch.stack(each) for each in zip(*(_answers(result) for result in results), strict=True))
    return CounterfactualSummary(
        images=len(results),
        flipped=share_interval(torch.tensor([result.flipped for result in results])),
        judged=share_interval(
            torch.tensor([verdict == r.target for verdict, r in zip(verdicts, results, strict=True)])
        ),
        gain=mean_interval(target_gain(before, after, torch.tensor([result.target for result in results]))),
        l1=mean_interval(torch.tensor([result.l1 for result in results])),
        l2=mean_interval(moved.l2.cpu()),
        changed=mean_interval(moved.share.cpu()),
        realism=mean_interval(torch.tensor([result.realism for result in results])),
        queries=sum(result.queries for result in results) / len(results),
        most_queries=max(result.queries for result in results),
        seconds=sum(result.seconds for result in results) / len(results),
    )


def _answers(result: Counterfactual) -> tuple[Tensor, Tensor]:
    """The log-probabilities of the input and of the answer."""
    return result.original_log_probabilities.cpu(), result.log_probabilities.cpu()
