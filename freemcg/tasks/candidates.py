"""The result of a counterfactual search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Candidates:
    """Images that may be counterfactuals. The black box has not been queried about these very images.

    Attributes:
        images: `(N, C, H, W)` in [0, 1].
        paths: the images at each step of the search, `(N, C, H, W)` each, or what `decode` makes images of. All are
            kept, since only the answers at the end tell whose path is wanted.
        likely: whether the search's model of the objective predicts the target for each image, `(N,)` bool. It is
            `None` if the search has no such model.
        exhausted: whether the budget ended before the search did.
        no_signal: whether the black box gave the same answer everywhere.
        decode: makes the images of a path. For a latent model each costs one pass of the decoder.
        begun: the trail that led to where this search began, `(S, C, H, W)`; `None` if it began at the input.
    """

    images: Tensor
    paths: Sequence[Tensor]
    likely: Tensor | None = None
    exhausted: bool = False
    no_signal: bool = False
    decode: Callable[[Tensor], Tensor] | None = None
    begun: Tensor | None = None

    def trail(self, index: int) -> Tensor:
        """The points at each step that led to one candidate, `(steps, C, H, W)`. They share no memory with others."""
        own = torch.stack([points[index] for points in self.paths])
        return own if self.begun is None else torch.cat([self.begun, own])

    def path(self, index: int) -> Tensor:
        """The images at each step of one candidate, `(steps, C, H, W)` in [0, 1]. They share no memory with others."""
        trail = self.trail(index)
        return trail if self.decode is None else self.decode(trail)
