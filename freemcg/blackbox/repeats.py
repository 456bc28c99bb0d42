"""Query the same image again, to see whether the model has changed and how much its answers vary."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from freemcg.blackbox.asking import QueryBudgetExceeded
from freemcg.blackbox.box import BlackBox
from freemcg.blackbox.disagreement import SAME, on_one_scale, spread

MOST_REPEATS = 4
BEYOND = 12.0  # Student's t with 3 degrees of freedom exceeds this once in 800 times


@dataclass(frozen=True)
class Repeats:
    """Answers to the same image. The first was given at the start.

    Attributes:
        answers: `(1 + repeats, num_classes)`: probabilities, or values in units of the largest value of the first row.
        queries: the cost of the repeats.
    """

    answers: Tensor
    queries: int

    @property
    def disagreement(self) -> float:
        """The largest difference between two answers in one entry."""
        return spread(self.answers)

    @property
    def alike(self) -> bool:
        """Whether all answers agree to 1e-4 in every entry. This is true if nothing was repeated."""
        return self.disagreement <= SAME

    @property
    def noted(self) -> dict[str, float]:
        """What a result records: the disagreement, if there is one."""
        return {} if self.alike else {"disagreement": self.disagreement}

    @property
    def changed(self) -> bool:
        """Whether the first answer differs from the later ones by more than these differ from one another.

        If the later ones (two or more) agree to 1e-4, the model has changed if the first does not agree with them.
        Otherwise the model does not repeat itself, and four later answers are needed. `d` is the distance of the first
        answer from their mean, for the class that moved most. `s` is their standard deviation, for the class that
        varies most. The model has changed if `d > 12 s sqrt(1 + 1 / 4)`, which happens by chance once in 800 times.
        (This is our choice.)
        """
        first, later = self.answers[0], self.answers[1:]
        if self.alike or len(later) < 2:
            return False
        distance = float((first - later.mean(dim=0)).abs().max())
        if spread(later) <= SAME:
            return distance > SAME
        noise = float(later.std(dim=0).max()) * math.sqrt(1 + 1 / len(later))
        return len(later) == MOST_REPEATS and distance > BEYOND * noise


def ask_again(black_box: BlackBox, image: Tensor, log_probabilities: Tensor, *, since: int) -> Repeats:
    """Query `image` `(C, H, W)` again, as `repeated` does, if the model may have changed.

    This costs nothing if the model cannot change (`black_box.may_change`), or if no query was sent in the meantime.

    Args:
        black_box: the model.
        image: the image that was queried before.
        log_probabilities: the first answer, `(num_classes,)`.
        since: the number of queries (`black_box.queries`) at the first answer.
    """
    if black_box.may_change and black_box.queries > since:
        return repeated(black_box, image, log_probabilities)
    return Repeats(on_one_scale(log_probabilities[None], values=black_box.answers_values), 0)


def repeated(black_box: BlackBox, image: Tensor, log_probabilities: Tensor) -> Repeats:
    """Query `image` `(C, H, W)` again, without any cache.

    This costs 1 query, or 4 if the answer differs. It costs fewer if the budget has fewer left.
    """
    rows, before = [log_probabilities], black_box.known
    try:
        with black_box.without_cache():
            rows += black_box(image[None])
            if spread(on_one_scale(torch.stack(rows), values=black_box.answers_values)) > SAME:
                more = min(MOST_REPEATS - 1, MOST_REPEATS if black_box.remaining is None else black_box.remaining)
                rows += black_box(image[None].expand(more, -1, -1, -1)) if more else ()
    except QueryBudgetExceeded:
        pass
    return Repeats(on_one_scale(torch.stack(rows), values=black_box.answers_values), black_box.known - before)
