"""Whether a model still answers as it did, and how much its answers vary: the same image asked about once more."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from freemcg.blackbox.asking import QueryBudgetExceeded
from freemcg.blackbox.box import BlackBox

MOST_REPEATS = 4
SAME = 1e-4
BEYOND = 12.0  # Student's t with 3 degrees of freedom is larger once in 800 times


@dataclass(frozen=True)
class Repeats:
    """Answers to the same image, the first of them given at the start.

    Attributes:
        answers: `(1 + repeats, num_classes)`: probabilities, or values in units of the first one.
        queries: what the repeats cost.
    """

    answers: Tensor
    queries: int

    @property
    def disagreement(self) -> float:
        """The largest difference between two answers in one probability, or share of a value."""
        return _spread(self.answers)

    @property
    def alike(self) -> bool:
        """Whether all agree to 1e-4 in every probability; true where nothing was asked again."""
        return self.disagreement <= SAME

    @property
    def noted(self) -> dict[str, float]:
        """What a result records of them: the disagreement, where there is one."""
        return {} if self.alike else {"disagreement": self.disagreement}

    @property
    def changed(self) -> bool:
        """Whether the later answers differ from the first by more than they differ from one another.

        If they agree to 1e-4 with one another, and not with the first, the model has changed. If they do not, it is one
        that does not repeat itself; then the first must be so far from their mean that it would happen by chance once
        in 800 times, by the standard deviation of the four: of the class that varies most, against that of the class
        that moved most. (A choice of ours.)
        """
        first, later = self.answers[0], self.answers[1:]
        if self.alike or len(later) < 2:
            return False
        apart = float((first - later.mean(dim=0)).abs().max())
        if _spread(later) <= SAME:
            return apart > SAME
        noise = float(later.std(dim=0).max()) * math.sqrt(1 + 1 / len(later))
        return len(later) == MOST_REPEATS and apart > BEYOND * noise


def ask_again(black_box: BlackBox, image: Tensor, log_probabilities: Tensor, *, since: int) -> Repeats:
    """Ask about `image` `(C, H, W)` once more, as `repeated` does, where the model may have changed meanwhile.

    Costs nothing where it cannot have (`black_box.may_change`), or where no query was sent since there were `since` of
    them.

    Args:
        log_probabilities: what was answered for it before, `(num_classes,)`.
    """
    if black_box.may_change and black_box.queries > since:
        return repeated(black_box, image, log_probabilities)
    return Repeats(on_one_scale(black_box, log_probabilities[None]), 0)


def repeated(black_box: BlackBox, image: Tensor, log_probabilities: Tensor) -> Repeats:
    """Ask about `image` `(C, H, W)` once more, past any cache.

    Costs 1 query, and 4 where the answer differs. Fewer where the budget holds fewer.
    """
    rows, before = [log_probabilities], black_box.known
    try:
        with black_box.without_cache():
            rows += black_box(image[None])
            if _spread(on_one_scale(black_box, torch.stack(rows))) > SAME:
                more = min(MOST_REPEATS - 1, MOST_REPEATS if black_box.remaining is None else black_box.remaining)
                rows += black_box(image[None].expand(more, -1, -1, -1)) if more else ()
    except QueryBudgetExceeded:
        pass
    return Repeats(on_one_scale(black_box, torch.stack(rows)), black_box.known - before)


def _spread(probabilities: Tensor) -> float:
    """The largest difference between two rows in one class."""
    return float((probabilities.amax(dim=0) - probabilities.amin(dim=0)).max())


def on_one_scale(black_box: BlackBox, answers: Tensor) -> Tensor:
    """Answers `(N, S)` as probabilities, or values in units of the largest of the first answer."""
    if not black_box.answers_values:
        return answers.exp()
    return answers / answers[0].abs().max().clamp(min=1e-12)
