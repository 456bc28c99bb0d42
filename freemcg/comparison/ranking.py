"""The ranks of methods, each measure on the same images for all, and how far the measures agree.

A mean over other images, or over other measures, would reward a method for what it lacks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from freemcg.comparison.measure import Column
from freemcg.evaluation.agreement import concordance, ranks

ENOUGH = 5
"""On fewer images a 95 % interval of a mean says little, and nobody can tell who leads."""


@dataclass(frozen=True)
class Ranking:
    """The ranks.

    Attributes:
        names: the methods.
        places: the rank of each method by measure, `(methods,)`; NaN if it has none. Measures without ranks are left
            out.
        images: on how many images a measure ranks.
        of: how many images there are.
    """

    names: Sequence[str]
    places: Mapping[str, Tensor]
    images: Mapping[str, int]
    of: int

    @property
    def means(self) -> list[float | None]:
        """The mean rank of each method; `None` for one that lacks a rank under some measure."""
        if not self.places:
            return [None] * len(self.names)
        return [None if math.isnan(each) else each for each in torch.stack(list(self.places.values())).mean(0).tolist()]

    @property
    def whole(self) -> list[str]:
        """The methods that have a mean rank."""
        return [name for name, mean in zip(self.names, self.means, strict=True) if mean is not None]

    @property
    def agreement(self) -> float:
        """Kendall's W of all measures over the methods that have a mean rank; NaN for fewer than two of either."""
        if len(self.whole) < 2 or len(self.places) < 2:
            return math.nan
        chosen = [name in self.whole for name in self.names]
        return concordance(torch.stack([ranks(each[chosen], higher_is_better=False) for each in self.places.values()]))

    def lacking(self, name: str) -> list[str]:
        """The measures under which a method has no rank, while others do."""
        index = list(self.names).index(name)
        return [column for column, place in self.places.items() if place[index].isnan()]

    @property
    def remarks(self) -> list[str]:
        """What a reader of the ranks must know, in sentences."""
        told = []
        if not math.isnan(self.agreement):
            which = f"{len(self.whole)} methods: {', '.join(self.whole)}"
            if len(self.whole) == len(self.names):
                which = "all methods"
            told.append(
                f"the measures agree by {self.agreement:.2f} (Kendall's W: 1 alike, 0 not at all), over "
                f"{', '.join(self.places)} and over {which}"
            )
        if few := [column for column in self.places if self.images[column] < ENOUGH]:
            where = "" if len(few) == len(self.places) else f" under {', '.join(few)}"
            told.append(f"too few images to tell which method is better{where}: {ENOUGH} or more are needed")
        for count in dict.fromkeys(self.images[column] for column in self.places):
            columns = [column for column in self.places if self.images[column] == count]
            if count < self.of:
                told.append(
                    f"ranked on {count} of {self.of} images, those with a figure of every ranked method: "
                    f"{', '.join(columns)}"
                )
        for name in self.names:
            if lacking := self.lacking(name):
                told.append(f"no mean rank for {name}, which lacks figures under {', '.join(lacking)}")
        return told


def ranked(figures: Mapping[str, Tensor], columns: Sequence[Column], names: Sequence[str]) -> Ranking:
    """Rank methods under each measure, by the mean over the images on which all ranked methods have a figure.

    A measure ranks if at least two methods take part; see `compared`.

    Args:
        figures: by column, `(methods, images)`, NaN where there is none.
        columns: these columns.
        names: the methods.
    """
    places, images = dict[str, Tensor](), dict[str, int]()
    for column in columns:
        takes, common = compared(figures[column.name])
        if takes.sum() >= min(2, len(names)) and common.any():
            means = figures[column.name][:, common].mean(dim=1)
            places[column.name] = ranks(torch.where(takes, means, torch.nan), higher_is_better=column.higher)
            images[column.name] = int(common.sum())
    return Ranking(names, places, images, next(iter(figures.values())).shape[1])


def compared(figures: Tensor) -> tuple[Tensor, Tensor]:
    """Which methods take part under a measure, `(methods,)`, and the images on which all of them have a figure.

    A method takes part if it has figures on at least half of the images on which any method has one. So one that mostly
    fails does not choose the images for all.

    Args:
        figures: `(methods, images)`, NaN where there is none.
    """
    known = figures.isfinite()
    takes = known.any(dim=1) & (2 * known.sum(dim=1) >= known.any(dim=0).sum())
    return takes, known[takes].all(dim=0)
