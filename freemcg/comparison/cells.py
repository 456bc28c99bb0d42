"""The cells of a comparison: one method on one image each, in one file that is written whole.

A job that explains each picture once has items instead: see `freemcg.jobs.items`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from freemcg.messages.errors import InvalidValue
from freemcg.results import Stored

SHOWN_IMAGES = 8
"""So many pictures are drawn, from the first."""


@dataclass(frozen=True)
class Cell(Stored):
    """The map of a method for an image, and the measures of its quality.

    Attributes:
        method, image: the names of both.
        target: the class explained.
        values: the map, `(C, H, W)`; `None` if the method failed.
        alignment: the share of the map's norm in the tangent space; `None` without a map, or for a map of zeros.
        rank: the dimension of that tangent space.
        insertion, deletion: see `freemcg.evaluation.insertion_deletion`.
        cost, unit: the cost of the map, in `"queries"` or `"gradients"`, without the cost of measuring it.
        seconds: the time of the map, likewise.
        error: the reason for a failure, in one line; `None` without one.
        picture: a digest of the image's pixels.
        made_with: a digest of the settings of the comparison; empty if an earlier version wrote the cell.
        scores: the model's answer for the image itself when the map was measured, as received, `(S,)`.
        mask: a digest of the mask with which its figures were taken; empty if there was none.
        figures: those of further measures, by column; `None` for one that the map does not have.
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
    made_with: str = ""
    scores: Tensor | None = None
    mask: str = ""
    figures: dict[str, float | None] = field(default_factory=dict)

    @property
    def blank(self) -> bool:
        """Whether the map is zero everywhere. It ranks no pixel before another, so its measures say nothing."""
        return self.values is not None and not self.values.any()


def cell_path(out: Path, image: str, method: str) -> Path:
    """The file of a cell. Image `a/b.png` has the folder `out/cells/a/b.png`."""
    return out / "cells" / image / f"{method}.safetensors"


def picture_path(out: Path, image: str) -> Path:
    """The file of the picture itself, beside its cells."""
    return out / "cells" / image / "picture.png"


def load_cell(out: Path, image: str, method: str) -> Cell | None:
    """The cell that is saved; `None` if there is none yet, or it is damaged."""
    try:
        return Cell.load(cell_path(out, image, method))
    except (FileNotFoundError, InvalidValue):
        return None


def other_methods(out: Path, images: Iterable[str], names: Sequence[str]) -> list[str]:
    """The methods, other than `names`, that have a cell for one of these images, in the order of the alphabet."""
    found = {path.stem for image in images for path in cell_path(out, image, "").parent.glob("*.safetensors")}
    return sorted(found - {"", *names})
