"""One cell of a comparison: the map of a method for an image, and its measures. What is there already is kept."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from freemcg.blackbox import BlackBox, QueryBudgetExceeded
from freemcg.blackbox.cache import image_key
from freemcg.comparison.attack import Attack
from freemcg.comparison.cells import Cell
from freemcg.comparison.contestants import Contestant
from freemcg.comparison.cost import cost_of_measuring, missing
from freemcg.comparison.masks import mask_digest
from freemcg.comparison.measure import Measured
from freemcg.comparison.measures import MASK, take
from freemcg.comparison.tangents import Tangents
from freemcg.evaluation.insertion_deletion import insertion_deletion
from freemcg.explainer import FreeMCG
from freemcg.messages.errors import InvalidValue, Refusal

EXPECTED = (Refusal, OSError)


@dataclass(frozen=True)
class Measuring:
    """How the maps of a comparison are measured.

    Attributes:
        explainer: its black box answers the questions, and its denoiser makes infills.
        tangents: the tangent spaces of the alignment.
        steps: the steps of insertion and deletion.
        measures: names of further measures.
        masks: where the object is, by the name of the image.
    """

    explainer: FreeMCG
    tangents: Tangents
    steps: int
    measures: Sequence[str]
    masks: Mapping[str, Tensor]

    @cached_property
    def attack(self) -> Attack:
        """The attack, which remembers its last image."""
        return Attack(self.explainer.black_box)

    def finished(self, kept: Cell | None, contestant: Contestant, name: str, image: Tensor, target: int) -> Cell:
        """A cell with its map and all measures, or with the reason for a failure. What is kept is not made again."""
        lacking = cost_of_measuring(kept, contestant.most, self.measures, self.steps).queries
        cell = kept
        if cell is None or cell.values is None:
            cell = _mapped(contestant, name, image, target, self.explainer.black_box, lacking)
        if cell.values is None:
            return cell
        try:
            if cell.insertion is None:
                cell = self._placed(cell, image)
            for measure in missing(cell, self.measures):
                figures = take([measure], self._subject(cell, image, contestant))
                cell = replace(cell, figures={**cell.figures, **figures})
                if measure == MASK:
                    cell = replace(cell, mask=mask_digest(self.masks[name]))
        except Exception as problem:
            return replace(cell, error=f"not measured: {_one_line(problem)}")
        return replace(cell, error=None)

    def _placed(self, cell: Cell, image: Tensor) -> Cell:
        """The cell with alignment, insertion and deletion."""
        assert cell.values is not None
        black_box, values = self.explainer.black_box, cell.values[None].to(image)
        (space,) = self.tangents(image[None])
        alignment = space.alignment(values).item()
        with black_box.recording() as receipt:
            areas = insertion_deletion(
                black_box,
                image[None],
                values,
                torch.tensor([cell.target]),
                steps=self.steps,
                seed=self.explainer.settings.seed,
            )
        return replace(
            cell,
            alignment=None if math.isnan(alignment) else alignment,  # a map of zeros has no direction
            rank=space.rank,
            insertion=areas.insertion.item(),
            deletion=areas.deletion.item(),
            scores=receipt.questions[0].answers[0],  # deletion begins with the image itself
        )

    def _subject(self, cell: Cell, image: Tensor, contestant: Contestant) -> Measured:
        def again(images: Tensor) -> Tensor:
            if contestant.attribute is None:
                raise InvalidValue(contestant.missing)
            return contestant.attribute(images, cell.target)

        assert cell.values is not None
        return Measured(
            black_box=self.explainer.black_box,
            denoiser=self.explainer.denoiser,
            image=image[None],
            values=cell.values[None].to(image),
            target=torch.tensor([cell.target]),
            again=again,
            added=contestant.added,
            attacked=lambda: self.attack(image[None], torch.tensor([cell.target], device=image.device)),
            mask=self.masks.get(cell.image),
            steps=self.steps,
            seed=self.explainer.settings.seed,
        )


def _mapped(contestant: Contestant, name: str, image: Tensor, target: int, black_box: BlackBox, measuring: int) -> Cell:
    """The map of one method for one image, or the reason for its failure. It leaves the queries to measure it."""
    began, before, values, error = time.monotonic(), contestant.spent, None, None
    if contestant.attribute is None:
        error = contestant.missing
    else:
        try:
            _afford(black_box, measuring + contestant.most.queries)
            with black_box.reserving(measuring):
                values = contestant.attribute(image[None], target)[0].detach().cpu()
            if not values.isfinite().all():
                values, error = None, "the map holds NaN or infinity"
        except Exception as problem:
            error = _one_line(problem)
    return Cell(
        method=contestant.name,
        image=name,
        picture=image_key(image).hex(),
        target=target,
        values=values,
        alignment=None,
        rank=None,
        insertion=None,
        deletion=None,
        cost=contestant.spent - before,
        unit=contestant.unit,
        seconds=time.monotonic() - began,
        error=error,
    )


def _afford(black_box: BlackBox, queries: int) -> None:
    """Refuse to begin a map that the budget does not cover."""
    if black_box.budget is not None and black_box.queries + queries > black_box.budget:
        raise QueryBudgetExceeded(queries, black_box.budget - black_box.queries, black_box.budget)


def _one_line(error: Exception) -> str:
    message = " ".join(str(error).split())
    return message if isinstance(error, EXPECTED) and message else f"{type(error).__name__}: {message}"
