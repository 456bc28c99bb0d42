"""Where a map differs from zero, as it is drawn: summed over channels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

Attribution = Any  # the class of freemcg.results, whose plot() imports this room
FALSE_RATE = 0.05


def significant(result: Attribution) -> Tensor:
    """Where the attribution, summed over channels as it is drawn, differs from zero: bool `(H, W)`.

    It is `Attribution.significant` of that sum. The standard errors of the channels are added. That is right if their
    errors agree, and cautious if not.
    """
    error = result.standard_error.sum(dim=0, keepdim=True)
    summed = replace(result, values=result.values.sum(dim=0, keepdim=True), standard_error=error)
    places: Tensor = summed.significant(FALSE_RATE)[0]
    return places
