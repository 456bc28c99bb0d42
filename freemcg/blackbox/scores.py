"""What a classifier's answer means: every kind of score becomes log-probabilities here, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

PROBABILITY_FLOOR = 1e-7
LABEL_CERTAINTY = 0.99


def _from_logits(answer: Tensor, classes: int) -> Tensor:
    return answer.log_softmax(dim=1)


def _from_probabilities(answer: Tensor, classes: int) -> Tensor:
    wrong = ((answer.sum(dim=1) - 1).abs() > 0.02) | (answer.amin(dim=1) < -1e-6)
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise ValueError(
            f"the black box was declared to answer probabilities, but a row lies in [{answer[row].min():.4g}, "
            f"{answer[row].max():.4g}] and sums to {answer[row].sum():.4g}; is it scores='logits'?"
        )
    floored = answer.clamp(min=PROBABILITY_FLOOR)
    return (floored / floored.sum(dim=1, keepdim=True)).log()


def _from_log_probabilities(answer: Tensor, classes: int) -> Tensor:
    total = answer.logsumexp(dim=1)
    if total.abs().max() > 0.02:
        worst = total[total.abs().argmax()].exp()
        raise ValueError(
            f"the black box was declared to answer log-probabilities, but exp(row) sums to {worst:.4g}; "
            "is it scores='logits'?"
        )
    return (answer - total[:, None]).nan_to_num(neginf=-104.0)  # a probability of 0


def _from_label(answer: Tensor, classes: int) -> Tensor:
    """The label named gets probability 0.99, the others share the rest: a bare label holds no more than that."""
    labels = answer.long()
    if (labels != answer).any() or labels.min() < 0 or labels.max() >= classes:
        wrong = answer[(labels != answer) | (labels < 0) | (labels >= classes)][0].item()
        raise ValueError(f"the black box answered the label {wrong:g}; labels are whole numbers 0..{classes - 1}")
    rest = (1 - LABEL_CERTAINTY) / (classes - 1)
    probabilities = torch.full((len(labels), classes), rest, device=answer.device)
    probabilities.scatter_(1, labels[:, None], LABEL_CERTAINTY)
    return probabilities.log()


SCORE_KINDS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "logits": _from_logits,
    "probabilities": _from_probabilities,
    "log_probabilities": _from_log_probabilities,
    "label": _from_label,
}
