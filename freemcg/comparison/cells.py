"""One method on one image: what a comparison is made of, each in a file of its own, written whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from freemcg.results import Stored


@dataclass(frozen=True)
class Cell(Stored):
    """What a method answered for an image, and how good it was.

    Attributes:
        method, image: names; `picture`, a digest of the image's pixels.
        target: the class explained.
        values: the map, `(C, H, W)`; `None` where the method failed.
        alignment: the share of its norm in the tangent space; `None` where there is no map, or it is zero.
        rank: dimension of that tangent space.
        insertion, deletion: see `freemcg.evaluation.insertion_deletion`.
        cost, unit: what the map cost, in `"queries"` or `"gradients"`, without what it cost to measure it.
        seconds: what it took, likewise.
        error: why it failed, in one line; `None` where it did not.
        scores: what the model answered for the image itself when the map was measured, as received, `(S,)`.
    """

    method: str
    image: str
    target: int
    values: Tensor | None
    alignment: float | None
    rank: int | None
    insertion: float | None
    deletion: float | None
    cost: int
    unit: str
    seconds: float
    error: str | None
    picture: str = ""
    scores: Tensor | None = None


def cell_path(out: Path, image: str, method: str) -> Path:
    """Where a cell is kept: image `a/b.png` has the folder `out/cells/a/b.png`."""
    return out / "cells" / image / f"{method}.safetensors"


def load_cell(out: Path, image: str, method: str) -> Cell | None:
    """The cell that is kept; `None` where there is none yet."""
    path = cell_path(out, image, method)
    return Cell.load(path) if path.is_file() else None
