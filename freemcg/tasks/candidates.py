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
    """

    images: Tensor
    paths: Sequence[Tensor]
    likely: Tensor | None = None
    exhausted: bool = False
    no_signal: bool = False
    decode: Callable[[Tensor], Tensor] | None = None

    def path(self, index: int) -> Tensor:
        """The images at each step of one candidate, `(steps, C, H, W)` in [0, 1]. They share no memory with others."""
        path = torch.stack([images[index] for images in self.paths])
        return path if self.decode is None else self.decode(path)
