"""What the black box answers along the path of a counterfactual, if that is wanted (`Settings.ask_path`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from freemcg.blackbox import BlackBox, QueryBudgetExceeded
from freemcg.blackbox.preparation import as_file
from freemcg.blackbox.repeats import MOST_REPEATS
from freemcg.blackbox.scores import VALUE
from freemcg.tasks.between import MOST as MOST_TO_TAKE_BACK
from freemcg.tasks.checks import Checked


@dataclass(frozen=True)
class Along:
    """The answers for the images of a path.

    Attributes:
        log_probabilities: `(S, num_classes)`; `None` if they were not asked.
        queries: the queries that they cost.
    """

    log_probabilities: Tensor | None = None
    queries: int = 0

    @property
    def noted(self) -> dict[str, Any]:
        """What a result records: the queries, if the path was asked about."""
        return {} if self.log_probabilities is None else {"path_queries": self.queries}


def ask_along(black_box: BlackBox, path: Tensor, known: Sequence[Checked]) -> Along:
    """Query the images of a path `(S, C, H, W)` as 8-bit files hold them, in one call.

    An image that is among the `known` ones is not queried again: its answer is there. The last image is mostly the
    counterfactual itself.

    It costs at most `S` queries. It asks nothing if the budget has too few left for that, and for what may follow: up
    to 4 that tell whether the model changed, and up to 8 that take a number back (`freemcg.tasks.between`). So no
    result is worse because its path was asked about.
    """
    frames = as_file(path)
    rows = {
        number: each.log_probabilities
        for number, frame in enumerate(frames)
        for each in known
        if torch.equal(frame, each.image)
    }
    left = [number for number in range(len(frames)) if number not in rows]
    if black_box.remaining is not None and black_box.remaining < len(left) + _still_to_come(black_box):
        return Along()
    if left:
        try:
            rows |= zip(left, black_box(frames[left]), strict=True)
        except QueryBudgetExceeded:  # during retries
            return Along()
    return Along(torch.stack([rows[number] for number in range(len(frames))]), len(left))


def _still_to_come(black_box: BlackBox) -> int:
    """The most queries that an explanation needs after those for its path."""
    taken_back = MOST_TO_TAKE_BACK if black_box.scores == VALUE else 0
    return taken_back + (MOST_REPEATS if black_box.may_change else 0)
