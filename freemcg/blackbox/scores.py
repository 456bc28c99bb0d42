"""Turn every kind of score into log-probabilities. No other file does this."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from freemcg.blackbox.likeness import IN_PERCENT, TOLERANCE, likeness
from freemcg.messages.errors import InvalidType, InvalidValue

PROBABILITY_FLOOR = 1e-12  # a higher floor would hide how far a confident classifier is from another decision
LABEL_CERTAINTY = 0.99


def _from_logits(answer: Tensor, classes: int) -> Tensor:
    return answer.log_softmax(dim=1)


def _from_probabilities(answer: Tensor, classes: int) -> Tensor:
    return _of_exclusive_classes(answer, 1, "probabilities")


def _from_percent(answer: Tensor, classes: int) -> Tensor:
    """Probabilities that sum to 100."""
    return _of_exclusive_classes(answer, 100, "percent")


def _of_exclusive_classes(answer: Tensor, whole: int, called: str) -> Tensor:
    misses_sum = (answer.sum(dim=1) - whole).abs() > TOLERANCE * whole
    wrong = misses_sum | (answer.amin(dim=1) < -1e-6 * whole)
    if wrong.any():
        row = answer[wrong][0]
        raise InvalidValue(
            f"the black box was declared to answer {called}, but a row lies in [{row.min():.4g}, {row.max():.4g}] and "
            f"sums to {row.sum():.4g}; {likeness(answer[wrong]).proposal}"
        )
    return _floored(answer / whole)


def _from_binary(answer: Tensor, classes: int) -> Tensor:
    """The probability `(N,)` of the second of two classes."""
    outside = (answer < -1e-6) | (answer > 1 + 1e-6)
    if outside.any():
        raise InvalidValue(
            f"the black box was declared to answer the probability of the positive class, but answered "
            f"{answer[outside][0]:.4g}, which is not in [0, 1]; {likeness(answer[:, None]).proposal}"
        )
    return _floored(torch.stack([1 - answer, answer], dim=1))


def _from_binary_logit(answer: Tensor, classes: int) -> Tensor:
    """The logit `(N,)` of the second of two classes. The log-odds of that class are the logit itself."""
    return torch.stack([F.logsigmoid(-answer), F.logsigmoid(answer)], dim=1)


def _from_multi_label(answer: Tensor, classes: int) -> Tensor:
    """`log p` for each label, not normalised: a label is present or not, whatever the others are."""
    outside = (answer < -1e-6) | (answer > 1 + 1e-6)
    if outside.any():
        raise InvalidValue(
            f"the black box was declared to answer a probability for each label, but answered "
            f"{answer[outside][0]:.4g}, which is not in [0, 1]; {likeness(answer).proposal}"
        )
    return answer.clamp(PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR).log()


def _from_multi_label_logit(answer: Tensor, classes: int) -> Tensor:
    return F.logsigmoid(answer)


def _from_value(answer: Tensor, classes: int) -> Tensor:
    """One or several numbers that mean themselves, such as an age, a price or a similarity."""
    return answer


def _from_log_probabilities(answer: Tensor, classes: int) -> Tensor:
    total = answer.logsumexp(dim=1)
    if total.abs().max() > TOLERANCE:
        worst = total[total.abs().argmax()].exp()
        raise InvalidValue(
            f"the black box was declared to answer log-probabilities, but exp(row) sums to {worst:.4g}; "
            f"{likeness(answer).proposal}"
        )
    return (answer - total[:, None]).nan_to_num(neginf=-104.0)  # a probability of 0


def _from_label(answer: Tensor, classes: int) -> Tensor:
    """The label gets probability 0.99, and the others share the rest. A bare label tells no more than that."""
    labels = answer.long()
    if (labels != answer).any() or labels.min() < 0 or labels.max() >= classes:
        wrong = answer[(labels != answer) | (labels < 0) | (labels >= classes)][0].item()
        raise InvalidValue(f"the black box answered the label {wrong:g}; labels are whole numbers 0..{classes - 1}")
    rest = (1 - LABEL_CERTAINTY) / (classes - 1)
    probabilities = torch.full((len(labels), classes), rest, device=answer.device)
    probabilities.scatter_(1, labels[:, None], LABEL_CERTAINTY)
    return probabilities.log()


def _from_top_k(answer: Tensor, classes: int) -> Tensor:
    """The probabilities of some classes, `(N, num_classes)`, with NaN for the classes that an answer does not list.

    The rest, `1 - sum(listed)`, is shared evenly among the classes that are not listed, since nothing tells them apart.
    But none of them gets more than the smallest listed score, since the listed scores are the largest. Every
    probability is then raised to at least 1e-12, and the row is renormalised. (Its sum differs from 1 if the cap leaves
    some of the rest over, or if rounding brings the listed scores above 1.)

    So a row that lists every class means the same as under `probabilities`. The log-odds of a listed class never fall
    when its score rises. (This is our choice. A single class listed with 0.99 gives the same as a bare label under
    `label`.)
    """
    listed = ~answer.isnan()
    scores = answer.nan_to_num(0)
    total, count = scores.sum(dim=1), listed.sum(dim=1)
    _refuse_top_k(scores, total, count, classes)
    smallest = answer.nan_to_num(float("inf")).amin(dim=1)
    share = (1 - total).clamp(min=0) / (classes - count).clamp(min=1)
    return _floored(torch.where(listed, answer, torch.minimum(share, smallest)[:, None]))


def _refuse_top_k(scores: Tensor, total: Tensor, count: Tensor, classes: int) -> None:
    rows = len(scores)
    if (count == 0).any():
        raise InvalidValue(f"the black box listed no class for image {_first(count == 0)} of {rows}")
    outside = (scores < -1e-6) | (scores > 1 + 1e-6)
    if outside.any():
        row = _first(outside.any(dim=1))
        percent = IN_PERCENT.format("top_k") if scores.min() >= 0 and scores.max() <= 100 else ""
        raise InvalidValue(
            f"the black box listed a score of {scores[row][outside[row]][0]:.4g} for image {row} of {rows}; "
            f"scores of top_k are probabilities, in [0, 1]{percent}"
        )
    wrong = (total > 1 + TOLERANCE) | ((count == classes) & (total < 1 - TOLERANCE))
    if wrong.any():
        row = _first(wrong)
        bound = "at most 1" if total[row] > 1 else f"1, since all {classes} classes are listed"
        raise InvalidValue(
            f"the black box listed scores that sum to {total[row]:.4g} for image {row} of {rows}; "
            f"they must sum to {bound}"
        )


def spread_top_k(labels: Tensor, scores: Tensor, classes: int) -> Tensor:
    """Labels and scores, both `(N, k)`, as one row of `classes` scores per image. A class without a score is NaN.

    Raises:
        TypeError: the labels are not integers.
        ValueError: the two differ in shape, a score is NaN, or a label is out of range or listed twice.
    """
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise InvalidType(
            f"the black box answered labels of type {labels.dtype}; top_k takes a pair of labels (whole numbers) and "
            "scores, in this order"
        )
    if labels.shape != scores.shape or labels.ndim != 2:
        raise InvalidValue(
            f"the black box answered labels of shape {tuple(labels.shape)} and scores of shape {tuple(scores.shape)}; "
            "both must be (images, k)"
        )
    rows, labels = len(labels), labels.long()
    if scores.isnan().any():
        raise InvalidValue(
            f"the black box answered NaN among the scores of image {_first(scores.isnan().any(dim=1))} of {rows}"
        )
    outside = (labels < 0) | (labels >= classes)
    if outside.any():
        raise InvalidValue(
            f"the black box listed class {labels[outside][0]} for image {_first(outside.any(dim=1))} of {rows}; "
            f"classes are 0..{classes - 1}"
        )
    ordered = labels.sort(dim=1).values
    twice = ordered[:, 1:] == ordered[:, :-1]
    if twice.any():
        row = _first(twice.any(dim=1))
        raise InvalidValue(f"the black box listed class {ordered[:, 1:][twice][0]} twice for image {row} of {rows}")
    spread = scores.new_full((rows, classes), float("nan"))
    return spread.scatter_(1, labels, scores)


def _floored(probabilities: Tensor) -> Tensor:
    """Logarithms of the rows. The rows are floored first, so that these are finite, and renormalised to sum 1."""
    floored = probabilities.clamp(min=PROBABILITY_FLOOR)
    return (floored / floored.sum(dim=1, keepdim=True)).log()


def _first(rows: Tensor) -> int:
    return int(rows.nonzero()[0])


SCORE_KINDS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "logits": _from_logits,
    "probabilities": _from_probabilities,
    "percent": _from_percent,
    "log_probabilities": _from_log_probabilities,
    "top_k": _from_top_k,
    "label": _from_label,
    "binary": _from_binary,
    "binary_logit": _from_binary_logit,
    "multi_label": _from_multi_label,
    "multi_label_logit": _from_multi_label_logit,
    "value": _from_value,
}
ONE_NUMBER = ("label", "binary", "binary_logit")
"""The answers of these kinds hold one number per image, `(N,)` or `(N, 1)`."""
TWO_CLASSES = ("binary", "binary_logit")
MULTI_LABEL = ("multi_label", "multi_label_logit")
"""The outputs of these kinds are independent: each label is present or not."""
VALUE = "value"
