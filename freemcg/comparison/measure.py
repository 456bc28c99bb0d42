"""What a measure of a comparison is: its columns, what it is given, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from freemcg.blackbox import BlackBox
from freemcg.diffusion.denoiser import Denoiser


@dataclass(frozen=True)
class Column:
    """One figure of a measure.

    Attributes:
        name: its name in `comparison.csv`.
        higher: whether higher is better.
        low, high: its range.
        meaning: a sentence for the page.
    """

    name: str
    higher: bool
    low: float
    high: float
    meaning: str


@dataclass(frozen=True)
class Measured:
    """What is measured: the map of one method for one image.

    Attributes:
        black_box: the classifier. The questions of the measure are counted by it.
        denoiser: the diffusion model, for an infill.
        image, values: the image and its map, `(1, C, H, W)`.
        target: the class explained, `(1,)`.
        again: the method itself, which maps images to maps for that class.
        added: what the image adds to the score of the method beyond its base-point; `None` for a method without one.
        attacked: the image after the attack of `comparison/attack.py`, likewise.
        mask: where the object is, `(H, W)` bool; `None` if nobody has said so.
        steps: the steps of insertion and deletion.
        seed: the seed of all random numbers.
    """

    black_box: BlackBox
    denoiser: Denoiser
    image: Tensor
    values: Tensor
    target: Tensor
    again: Callable[[Tensor], Tensor]
    added: Callable[[Tensor, Tensor], Tensor] | None
    attacked: Callable[[], Tensor]
    mask: Tensor | None
    steps: int
    seed: int


@dataclass(frozen=True)
class Measure:
    """A measure of a map.

    Attributes:
        columns: its figures.
        queries: the queries that it costs, by the steps of insertion and deletion.
        of: answers the figures, each `(1,)`.
        source: the author, the year and the address of its definition.
        maps: how many further maps of the method it needs.
        needs_weights: whether it differentiates the model, at no query.
    """

    columns: tuple[Column, ...]
    queries: Callable[[int], int]
    of: Callable[[Measured], Sequence[Tensor]]
    source: str
    maps: int = 0
    needs_weights: bool = False


ALIGNMENT = Column(
    "alignment", True, 0, 1, "The share of the map that changes the picture as pictures change; the rest is noise."
)
INSERTION = Column("insertion", True, 0, 1, "The mean certainty while the pixels that the map ranks first are put in.")
DELETION = Column(
    "deletion", False, 0, 1, "The mean certainty while the pixels that the map ranks first are taken out."
)
ALWAYS = (ALIGNMENT, INSERTION, DELETION)
