"""Feature attribution: the manifold gradient of the objective, by a number of queries or until it is certain enough."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations

import torch
from torch import Tensor

from freemcg.blackbox import BlackBox
from freemcg.denoiser import Denoiser
from freemcg.ensemble import label_widening
from freemcg.objective import Objective, between
from freemcg.results import BUDGET_EXHAUSTED, COMPLETE, NO_SIGNAL, Attribution
from freemcg.settings import Settings
from freemcg.survey import Survey

FIRST_BATCH = 32
BATCH = 16
MOST_GROWTH = 16


def attribute_image(
    black_box: BlackBox, denoiser: Denoiser, image: Tensor, target: int | str | None, settings: Settings
) -> Attribution:
    """Attribute the objective for `target` (the decision made, where `None`) to the pixels of `image` `(C, H, W)`.

    Costs `1 + settings.queries` queries, fewer where the budget holds fewer: then the map is made from those, and its
    status is `budget_exhausted`. The levels of `settings.noise` share the queries evenly. With `settings.tolerance` it
    is the last map of `stream_attributions`.

    Raises:
        QueryBudgetExceeded: not even one query is left, so nothing can be said.
    """
    if settings.tolerance is not None:
        return deque(stream_attributions(black_box, denoiser, image, target, settings), maxlen=1).pop()
    question = _Question.about(black_box, image, target)
    survey = Survey(denoiser, image, settings)
    short = _ask(survey, black_box, settings.queries)
    return question.answered(survey, settings.objective_function, short=short)


def stream_attributions(
    black_box: BlackBox,
    denoiser: Denoiser,
    image: Tensor,
    target: int | str | None,
    settings: Settings,
) -> Iterator[Attribution]:
    """The map after 33 queries and after every 16 more, until its relative standard error is `settings.tolerance`.

    Or until `1 + settings.queries` are spent: then the last status is `budget_exhausted`. A black box without a signal
    ends it after the first batch. While the sampling of the unpaid particles is the larger part of the allowed error,
    they are doubled, up to 16 times `settings.particles`; that takes time and no queries.
    """
    assert settings.tolerance is not None
    tolerance = settings.tolerance
    question = _Question.about(black_box, image, target)
    survey, batch, left = Survey(denoiser, image, settings), FIRST_BATCH, settings.queries
    while True:
        _ask(survey, black_box, min(batch, left))
        left, batch = settings.queries - survey.queries, BATCH * len(settings.noise)
        result = question.answered(survey, settings.objective_function, short=False)
        while _starved(result, tolerance) and survey.particles < MOST_GROWTH * settings.particles:
            survey.grow()
            result = question.answered(survey, settings.objective_function, short=False)
        reached, ended = result.relative_error <= tolerance, _affordable(black_box, left) < len(settings.noise)
        yield replace(result, status=BUDGET_EXHAUSTED) if ended and not reached else result
        if reached or ended or result.status == NO_SIGNAL:
            return


def contrast_maps(
    black_box: BlackBox, denoiser: Denoiser, image: Tensor, classes: Sequence[int], settings: Settings
) -> dict[tuple[int, int], Attribution]:
    """For every pair `(a, b)` of `classes`, what speaks for `a` against `b`: the map of `log p_a - log p_b`.

    All from the same `1 + settings.queries` queries, since an answer holds every class.
    """
    question = _Question.about(black_box, image, None)
    survey = Survey(denoiser, image, settings)
    short = _ask(survey, black_box, settings.queries)
    return {
        (first, second): replace(question, target=first).answered(survey, between(second), short=short)
        for first, second in combinations(classes, 2)
    }


def difference_map(
    black_box: BlackBox,
    other: BlackBox,
    denoiser: Denoiser,
    image: Tensor,
    target: int | str | None,
    settings: Settings,
) -> Attribution:
    """The map of `black_box` less that of `other`, asked about the same points, with the difference's own error.

    Costs `1 + settings.queries` queries of each.

    Raises:
        ValueError: they answer different numbers of classes.
    """
    question, theirs = _Question.about(black_box, image, target), other(image[None])
    classes, objective = len(question.log_probabilities), settings.objective_function
    if theirs.shape[1] != classes:
        raise ValueError(f"the models must answer the same classes; one answers {classes}, the other {theirs.shape[1]}")

    def both(images: Tensor) -> Tensor:
        return torch.cat([black_box(images), other(images)], dim=1)

    def less(answers: Tensor, target: int) -> Tensor:
        return objective(answers[:, :classes], target) - objective(answers[:, classes:], target)

    question = replace(question, labels=question.labels and other.scores == "label")
    survey = Survey(denoiser, image, settings)
    affordable = min(_affordable(black_box, settings.queries), _affordable(other, settings.queries))
    survey.ask(both, affordable)
    return question.answered(survey, less, short=affordable < settings.queries)


@dataclass(frozen=True)
class _Question:
    """What is asked: which class of which image, and what the black box answers for the image itself."""

    image: Tensor
    log_probabilities: Tensor
    target: int
    began: float
    labels: bool

    @classmethod
    def about(cls, black_box: BlackBox, image: Tensor, target: int | str | None) -> _Question:
        began, log_probabilities = time.monotonic(), black_box(image[None])[0]
        explained = int(log_probabilities.argmax()) if target is None else black_box.class_index(target)
        return cls(image, log_probabilities, explained, began, black_box.scores == "label")

    def answered(self, survey: Survey, objective: Objective, *, short: bool) -> Attribution:
        """The map; its error is wider where it comes from bare labels, by `label_widening`."""
        local = survey.gradient(objective, self.target)
        error, parts = local.standard_error, local.parts
        if self.labels:
            wider = label_widening(local.values)
            error = error * wider if local.has_signal else torch.full_like(error, wider)
            parts = None if parts is None else replace(parts, residual=parts.residual * wider**2)
        return Attribution(
            values=local.gradient,
            standard_error=error,
            image=self.image,
            log_probabilities=self.log_probabilities,
            target=self.target,
            decision=int(self.log_probabilities.argmax()),
            status=BUDGET_EXHAUSTED if short else COMPLETE if local.has_signal else NO_SIGNAL,
            queries=1 + survey.queries,
            seconds=time.monotonic() - self.began,
            record={},
            error_parts=None if parts is None else asdict(parts),
        )


def _ask(survey: Survey, black_box: BlackBox, queries: int) -> bool:
    """Ask as far as the budget of the black box reaches; whether that was less far than `queries`."""
    affordable = _affordable(black_box, queries)
    survey.ask(black_box, affordable)
    return affordable < queries


def _affordable(black_box: BlackBox, queries: int) -> int:
    return queries if black_box.remaining is None else min(queries, black_box.remaining)


def _starved(result: Attribution, tolerance: float) -> bool:
    """Whether the error is above `tolerance`, and more than half of what is allowed comes from too few particles."""
    if result.relative_error <= tolerance or result.error_parts is None:
        return False
    allowed = (tolerance * result.values.norm().item()) ** 2
    return bool(result.error_parts["sampling"] > allowed / 2)
