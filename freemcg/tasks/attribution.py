"""Feature attribution: the manifold gradient of the objective, by a number of queries or until it is certain enough."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations

import torch
from torch import Tensor

from freemcg.blackbox import BlackBox, QueryBudgetExceeded
from freemcg.blackbox.repeats import Repeats, ask_again
from freemcg.blackbox.scores import VALUE
from freemcg.diffusion.denoiser import Denoiser
from freemcg.ensemble import label_widening
from freemcg.gradient.estimator import Ask
from freemcg.gradient.levels import Survey
from freemcg.gradient.objective import Objective, between, named, objective_of
from freemcg.messages.errors import InvalidValue
from freemcg.results import BUDGET_EXHAUSTED, COMPLETE, MODEL_CHANGED, NO_SIGNAL, Attribution
from freemcg.settings import Settings

FIRST_BATCH = 32
BATCH = 16
MOST_GROWTH = 16


def attribute_image(
    black_box: BlackBox, denoiser: Denoiser, image: Tensor, target: int | str | None, settings: Settings
) -> Attribution:
    """Attribute the objective for `target` (the decision made, where `None`) to the pixels of `image` `(C, H, W)`.

    Costs `settings.queries` queries, fewer where the budget holds fewer: then the map is made from those, and its
    status is `budget_exhausted`. If the black box may change, one more at the end, and four where the answer differs:
    see `freemcg.blackbox.repeats`. One query is for the image itself; the levels of `settings.noise` share the others
    evenly. With `settings.tolerance` it is the last map of `stream_attributions`.

    Raises:
        QueryBudgetExceeded: not even one query is left, so nothing can be said.
    """
    if settings.tolerance is not None:
        return deque(stream_attributions(black_box, denoiser, image, target, settings), maxlen=1).pop()
    question = _Question.about(black_box, image, target)
    objective = objective_of(named(settings.objective), black_box.scores)
    survey = Survey(denoiser, image, settings)
    short = _ask(survey, black_box, settings.queries - 1, black_box)
    return question.answered(survey, objective, short=short, repeats=question.again(black_box))


def stream_attributions(
    black_box: BlackBox,
    denoiser: Denoiser,
    image: Tensor,
    target: int | str | None,
    settings: Settings,
) -> Iterator[Attribution]:
    """The map after 33 queries and after every 16 more, until its relative standard error is `settings.tolerance`.

    Or until `settings.queries` are spent: then the last status is `budget_exhausted`. A black box without a signal
    ends it after the first batch. While the sampling of the unpaid particles is the larger part of the allowed error,
    they are doubled, up to 16 times `settings.particles`; that takes time and no queries.
    """
    assert settings.tolerance is not None
    tolerance = settings.tolerance
    question = _Question.about(black_box, image, target)
    objective = objective_of(named(settings.objective), black_box.scores)
    survey, batch, left = Survey(denoiser, image, settings), FIRST_BATCH, settings.queries - 1
    while True:
        short = _ask(survey, black_box, min(batch, left), black_box)
        left, batch = settings.queries - 1 - survey.queries, BATCH * len(settings.noise)
        result = question.answered(survey, objective, short=False)
        while _starved(result, tolerance) and survey.particles < MOST_GROWTH * settings.particles:
            survey.grow()
            result = question.answered(survey, objective, short=False)
        reached = result.relative_error <= tolerance
        ended = short or _affordable(left, black_box) < len(settings.noise)
        if reached or ended or result.status == NO_SIGNAL:
            short, again = ended and not reached, question.again(black_box)
            yield question.answered(survey, objective, short=short, repeats=again)
            return
        yield result


def contrast_maps(
    black_box: BlackBox, denoiser: Denoiser, image: Tensor, classes: Sequence[int], settings: Settings
) -> dict[tuple[int, int], Attribution]:
    """For every pair `(a, b)` of `classes`, what speaks for `a` against `b`: the map of `log p_a - log p_b`.

    All from the same `settings.queries` queries, since an answer holds every class.
    """
    question = _Question.about(black_box, image, None)
    survey = Survey(denoiser, image, settings)
    short, again = _ask(survey, black_box, settings.queries - 1, black_box), question.again(black_box)
    return {
        (first, second): replace(question, target=first).answered(survey, between(second), short=short, repeats=again)
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

    Costs `settings.queries` queries of each, and of one that may change as many more as `attribute_image`.

    Raises:
        ValueError: they answer different numbers of classes.
    """
    question, before = _Question.about(black_box, image, target), other.queries
    theirs = other(image[None])
    classes, objective = len(question.log_probabilities), objective_of(named(settings.objective), black_box.scores)
    if theirs.shape[1] != classes:
        raise InvalidValue(
            f"the models must answer the same classes; one answers {classes}, the other {theirs.shape[1]}"
        )

    def both(images: Tensor) -> Tensor:
        try:
            return torch.cat([black_box(images), other(images)], dim=1)
        except QueryBudgetExceeded as error:
            error.answered = {}  # by one of them alone
            raise

    def less(answers: Tensor, target: int) -> Tensor:
        return objective(answers[:, :classes], target) - objective(answers[:, classes:], target)

    question = replace(question, labels=question.labels and other.scores == "label")
    survey = Survey(denoiser, image, settings)
    short = _ask(survey, both, settings.queries - 1, black_box, other)
    result = question.answered(survey, less, short=short, repeats=question.again(black_box))
    again = ask_again(other, image, theirs[0], since=before)
    noted = max(result.record, again.noted, key=lambda each: each.get("disagreement", 0.0))
    return replace(result, record=noted, status=MODEL_CHANGED if again.changed else result.status)


@dataclass(frozen=True)
class _Question:
    """What is asked: which class of which image, and what the black box answers for the image itself."""

    image: Tensor
    log_probabilities: Tensor
    target: int
    decision: int
    began: float
    queries_before: int
    labels: bool

    @classmethod
    def about(cls, black_box: BlackBox, image: Tensor, target: int | str | None) -> _Question:
        began, before = time.monotonic(), black_box.queries
        log_probabilities = black_box(image[None])[0]
        decision = int(log_probabilities.argmax())
        if black_box.scores == VALUE:
            if target is None and len(log_probabilities) > 1:
                raise InvalidValue(f"the model answers {len(log_probabilities)} numbers; say which one as target")
            decision = 0 if target is None else black_box.class_index(target)  # there is none
        explained = decision if target is None else black_box.class_index(target)
        return cls(image, log_probabilities, explained, decision, began, before, black_box.scores == "label")

    def again(self, black_box: BlackBox) -> Repeats:
        return ask_again(black_box, self.image, self.log_probabilities, since=self.queries_before)

    def answered(
        self, survey: Survey, objective: Objective, *, short: bool, repeats: Repeats | None = None
    ) -> Attribution:
        """The map; its error is wider where it comes from bare labels, by `label_widening`."""
        local = survey.gradient(objective, self.target)
        error, parts = local.standard_error, local.parts
        if self.labels:
            wider = label_widening(local.values)
            error = error * wider if local.has_signal else torch.full_like(error, wider)
            parts = None if parts is None else replace(parts, residual=parts.residual * wider**2)
        status = BUDGET_EXHAUSTED if short else COMPLETE if local.has_signal else NO_SIGNAL
        return Attribution(
            values=local.gradient,
            standard_error=error,
            image=self.image,
            log_probabilities=self.log_probabilities,
            target=self.target,
            decision=self.decision,
            status=MODEL_CHANGED if repeats is not None and repeats.changed else status,
            queries=1 + survey.queries + (0 if repeats is None else repeats.queries),
            seconds=time.monotonic() - self.began,
            record={} if repeats is None else repeats.noted,
            error_parts=None if parts is None else asdict(parts),
        )


def _ask(survey: Survey, ask: Ask, queries: int, *black_boxes: BlackBox) -> bool:
    """Ask as far as the budgets reach; whether that was less far than `queries`, or retries took the rest."""
    affordable = _affordable(queries, *black_boxes)
    try:
        survey.ask(ask, affordable)
    except QueryBudgetExceeded:
        return True
    return affordable < queries


def _affordable(queries: int, *black_boxes: BlackBox) -> int:
    return min([queries, *(each.remaining for each in black_boxes if each.remaining is not None)])


def _starved(result: Attribution, tolerance: float) -> bool:
    """Whether the error is above `tolerance`, and more than half of what is allowed comes from too few particles."""
    if result.relative_error <= tolerance or result.error_parts is None:
        return False
    allowed = (tolerance * result.values.norm().item()) ** 2
    return bool(result.error_parts["sampling"] > allowed / 2)
