"""Finished counterfactuals of the same pictures, measured side by side: one folder of results for each search."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from freemcg.blackbox import BlackBox
from freemcg.blackbox.scores import MULTI_LABEL, VALUE
from freemcg.comparison.embedded import Embedded, embed
from freemcg.comparison.labels import labels_among
from freemcg.comparison.verdict import paired_tests
from freemcg.evaluation.changes import changes, diversity, nearest, target_gain
from freemcg.evaluation.cout import cout
from freemcg.files.images import read_image
from freemcg.files.listing import list_images
from freemcg.jobs.items import DEMO_CHANGE, RESULT
from freemcg.messages.errors import InvalidValue
from freemcg.results import Counterfactual, load_result


@dataclass(frozen=True)
class Sides:
    """What was measured.

    Attributes:
        names: the folders.
        images: the pictures that all folders have.
        left_out: the number of pictures that only some have.
        figures: by measure, `(folders, images)` float64.
        diversity: of each picture's answers in these folders, `(images,)`; empty for one folder.
        embedded: what the features of a network tell, if one was given.
    """

    names: list[str]
    images: list[str]
    left_out: int
    figures: dict[str, Tensor]
    diversity: Tensor
    embedded: Embedded | None = None

    @cached_property
    def tests(self) -> list[dict[str, Any]]:
        """The paired tests of each measure against the first folder; none for one folder."""
        return paired_tests(self.figures, self.names, self.names[0])


def read_sides(folders: Sequence[Path]) -> tuple[dict[str, dict[str, Counterfactual]], int]:
    """The counterfactuals of the pictures that all folders have, by folder and picture, and how many others there are.

    Raises:
        FileNotFoundError: a folder holds no counterfactual.
        ValueError: a result is damaged or no counterfactual of one class among several, a picture has two in one
            folder, no picture is in all folders, or a name stands for another picture in one of them.
    """
    found = {str(folder): _read(folder) for folder in dict.fromkeys(folders)}
    first, *others = found.values()
    common = [image for image in first if all(image in other for other in others)]
    if not common:
        raise InvalidValue(f"no picture has a counterfactual in each of {', '.join(found)}")
    for name, side in found.items():
        for image in common:
            if not torch.equal(side[image].original, first[image].original):
                raise InvalidValue(f"{image} is another picture in {name} than in {next(iter(found))}")
    left_out = len({image for side in found.values() for image in side}) - len(common)
    return {name: {image: side[image] for image in common} for name, side in found.items()}, left_out


def _read(folder: Path) -> dict[str, Counterfactual]:
    side = dict[str, Counterfactual]()
    for path in sorted([*folder.rglob(RESULT), *folder.rglob(DEMO_CHANGE)]):
        result = load_result(path)
        if not isinstance(result, Counterfactual) or result.record.get("scores") in (*MULTI_LABEL, VALUE):
            raise InvalidValue(f"{path} is no counterfactual of a class that excludes the others; name other folders")
        image = str(path.parent.relative_to(folder))
        if image in side:
            raise InvalidValue(f"{path.parent} holds two counterfactuals, {DEMO_CHANGE} and {RESULT}; move one away")
        side[image] = replace(result, path=result.path[-1:])
    if not side:
        raise FileNotFoundError(
            f"there is no finished counterfactual in {folder}; name an --out of counterfactual or demo"
        )
    return side


def read_known(folder: Path, like: Counterfactual) -> tuple[Tensor, list[int] | None]:
    """The pictures in a folder, `(M, C, H, W)`, and their classes by their folders, as `labels_among` finds them.

    They get the channels and the size of the picture of `like`, and the classes are those of its model.

    Raises:
        FileNotFoundError, ValueError: there is none, or one cannot be read.
    """
    channels, height, width = like.original.shape
    paths = list_images(folder)
    names = [str(path.relative_to(folder)) for path in paths]
    labels = labels_among(names, like.record.get("class_names"), len(like.log_probabilities))
    return torch.stack([read_image(path, channels=channels, size=(height, width)) for path in paths]), labels


def check_model(sides: Mapping[str, Mapping[str, Counterfactual]], black_box: BlackBox) -> None:
    """Refuse to ask a model about counterfactuals of another.

    Raises:
        ValueError: a counterfactual was made with another model.
    """
    for name, side in sides.items():
        if any(result.record.get("black_box") != black_box.identity for result in side.values()):
            raise InvalidValue(f"the counterfactuals in {name} are of another model than --model; name that one")


def measure_sides(
    sides: Mapping[str, Mapping[str, Counterfactual]],
    left_out: int = 0,
    *,
    known: Tensor | None = None,
    labels: Sequence[int] | None = None,
    features: Callable[[Tensor], Tensor] | None = None,
    verdicts: Tensor | None = None,
    black_box: BlackBox | None = None,
    steps: int = 0,
) -> Sides:
    """Measure counterfactuals. See `freemcg.evaluation.changes` and `freemcg.evaluation.cout` for the measures.

    Args:
        sides: by folder and picture; the pictures of all are the same.
        known: images `(M, C, H, W)`, to whose nearest one the distance is taken.
        labels: the class of each of these. Then the nearest of the target's class counts, and NaN stands where there is
            none. `None` takes the nearest of any class.
        features: maps images to features `(N, F)`, see `freemcg.comparison.embedded`. `None` leaves them out.
        verdicts: whether a judge decides each as the target, `(folders, images)`, as `freemcg.comparison.judge` finds.
        black_box, steps: for COUT. A counterfactual then costs `steps + 1` queries. `None` leaves it out.
    """
    columns = [_figures(list(side.values()), known, labels, black_box, steps) for side in sides.values()]
    figures = {name: torch.stack([column[name] for column in columns]) for name in columns[0]}
    embedded = None if features is None else embed(sides, features, known)
    if embedded is not None:
        figures["similarity"] = embedded.similarity
    if verdicts is not None:
        figures["judged"] = verdicts
    images = list(next(iter(sides.values())))
    answers = [torch.stack([side[image].image for side in sides.values()]) for image in images]
    spread = [diversity(each) for each in answers] if len(sides) > 1 else []
    return Sides(list(sides), images, left_out, figures, torch.tensor(spread, dtype=torch.double), embedded)


def _figures(
    results: Sequence[Counterfactual],
    known: Tensor | None,
    labels: Sequence[int] | None,
    black_box: BlackBox | None,
    steps: int,
) -> dict[str, Tensor]:
    images, answers = torch.stack([r.original for r in results]), torch.stack([r.image for r in results])
    targets = torch.tensor([result.target for result in results])
    before, after = (
        torch.stack([getattr(result, name) for result in results])
        for name in ("original_log_probabilities", "log_probabilities")
    )
    moved = changes(images, answers)
    found = {
        "flipped": torch.tensor([result.flipped for result in results]).double(),
        "gain": target_gain(before, after, targets),
        "l1": moved.l1,
        "l2": moved.l2,
        "share changed": moved.share,
        "realism": torch.tensor([result.realism for result in results], dtype=torch.double),
        "queries": torch.tensor([result.queries for result in results]).double(),
    }
    if known is not None:
        found["nearest known"] = _nearest(answers, targets, known, labels)
    if black_box is not None:
        origins = torch.tensor([result.original_decision for result in results])
        found["cout"] = cout(black_box, images, answers, targets, origins, steps=steps).cpu()
    return found


def _nearest(answers: Tensor, targets: Tensor, known: Tensor, labels: Sequence[int] | None) -> Tensor:
    """The distance of each answer to the nearest known picture, of its target's class if classes are known, `(N,)`."""
    if labels is None:
        return nearest(answers, known)[0]
    classes, found = torch.tensor(labels), torch.full((len(answers),), math.nan, dtype=torch.double)
    for target in targets.unique():
        if (theirs := known[classes == target]).numel():
            found[targets == target] = nearest(answers[targets == target], theirs)[0]
    return found
