"""Propose the kind of scores that numbers look like, with a reason. The user decides."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

TOLERANCE = 0.02  # a sum of probabilities may miss 1 by this much, since services round them
SLACK = 1e-6
IN_PERCENT = "; if they are percent, divide them by 100 (percent: true) and say scores='{}'"
ROUNDED = "; if they are rounded {}, divide each row by its sum and say scores='probabilities'"


class Likeness(NamedTuple):
    """What numbers look like.

    Attributes:
        kinds: the kinds of scores that such numbers may be.
        proposal: the reason, and how to name the likeliest kind. The subject of the sentence is "they".
    """

    kinds: tuple[str, ...]
    proposal: str


def likeness(rows: Tensor) -> Likeness:
    """What scores `(N, S)` look like, as received. NaN stands for a class that was not listed."""
    low, high = rows.min().item(), rows.max().item()
    inside = low >= -SLACK and high <= 1 + SLACK
    if rows.shape[1] == 1:
        percent = IN_PERCENT.format("binary") if low >= 0 and high <= 100 else ""
        return _of_one_number(inside, whole=low >= 0 and bool((rows == rows.round()).all()), percent=percent)
    if rows.isnan().any():
        return Likeness(("top_k",), f"they leave out some classes, like a list of the best: {said('top_k')}")
    if low >= -SLACK and _all_near(rows.sum(dim=1), 100):
        return Likeness(("percent",), f"each row sums to about 100, like percent: {said('percent')}")
    if inside:
        return _of_probabilities(rows)
    if high <= SLACK and _all_near(rows.logsumexp(dim=1).exp(), 1):
        kinds = ("log_probabilities", "logits", "value")
        return Likeness(kinds, f"exp of each row sums to 1, like log-probabilities: {said('log_probabilities')}")
    percent = IN_PERCENT.format("multi_label") if low >= 0 and high <= 100 else ""
    rounded = ROUNDED.format("percent") if percent and _all_near(rows.sum(dim=1), 100, within=0.5) else ""
    return Likeness(
        ("logits", "multi_label_logit", "value"),
        f"they are not bounded, like logits: {said('logits')}, 'multi_label_logit' for independent labels, or 'value' "
        f"for numbers that mean themselves{percent}{rounded}",
    )


def unlike(kind: str, rows: Tensor) -> str:
    """A line that says why scores `(N, S)` do not look as declared, and proposes a kind; empty if they do."""
    kinds, proposal = likeness(rows)
    return "" if kind in kinds else f"the numbers do NOT look like {kind}: {proposal}"


def said(kind: str) -> str:
    """How to name the kind in Python, on the command line and in an endpoint's description."""
    return f"say scores='{kind}' (--scores, means:)"


def _of_one_number(inside: bool, *, whole: bool, percent: str) -> Likeness:
    if inside:
        return Likeness(
            ("binary", "binary_logit", "value") + (("label",) if whole else ()),
            f"they lie in [0, 1], like the probability of the positive class of two: {said('binary')}, "
            "'binary_logit' for its logit, or 'value' for a number that means itself",
        )
    if whole:
        return Likeness(
            ("label", "value", "binary_logit"),
            f"they are whole, like labels: {said('label')}, or 'value' for a number that means itself{percent}",
        )
    return Likeness(
        ("value", "binary_logit"),
        f"they are not bounded, like a number that means itself: {said('value')}, or 'binary_logit' for the "
        f"logit of the positive class of two{percent}",
    )


def _of_probabilities(rows: Tensor) -> Likeness:
    if _all_near(rows.sum(dim=1), 1):
        return Likeness(("probabilities", "top_k"), f"each row lies in [0, 1] and sums to 1: {said('probabilities')}")
    return Likeness(
        ("multi_label", "value"),
        "they lie in [0, 1] and do not sum to 1, like independent labels, each with a sigmoid: "
        f"{said('multi_label')}{ROUNDED.format('probabilities or percent')}",
    )


def _all_near(totals: Tensor, whole: float, within: float = TOLERANCE) -> bool:
    return bool(((totals - whole).abs() <= within * whole).all())
