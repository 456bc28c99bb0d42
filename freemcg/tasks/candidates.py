"""What a counterfactual search hands back."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Candidates:
    """Images that may be counterfactuals; the black box has not been asked about them as they stand.

    Attributes:
        images: `(N, C, H, W)` in [0, 1].
        paths: `(steps, N, C, H, W)` in [0, 1], what each looked like on its way.
        likely: whether the search's own model of the objective has each decided as the target, `(N,)` bool; `None`
            where it has none.
        exhausted: whether the budget ended before the search did.
        no_signal: whether the black box never answered differently.
    """

    images: Tensor
    paths: Tensor
    likely: Tensor | None = None
    exhausted: bool = False
    no_signal: bool = False
