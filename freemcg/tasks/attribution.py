"""Feature attribution: the manifold gradient of the objective, from a fixed number of queries or up to a tolerance."""

from __future__ import annotations

import math
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
from freemcg.gradient.estimator import Ask, queries_on_axes
from freemcg.gradient.levels import Ensembles, unpaid_particles
from freemcg.gradient.objective import Objective, between, named, objective_of
from freemcg.messages.errors import InvalidValue
from freemcg.results import Attribution, Status
from freemcg.settings import Settings
from freemcg.tasks.restored import Seen, look

FIRST_BATCH = 32
BATCH = 16
MOST_GROWTH = 16


def attribute_image(
    black_box: BlackBox, denoiser: Denoiser, image: Tensor, target: int | str | None, settings: Settings
) -> Attribution:
    """Attribute the objective for `target` to the pixels of `image` `(C, H, W)`. `None` means the decision made.

    It costs `settings.queries` queries: one for the image, and the others shared evenly by the levels of
    `settings.noise`. If the budget has fewer left, the map is made from those, and its status is `budget_exhausted`. If
    the black box may change, the image is queried once more at the end, and four times if the answer differs: see
    `freemcg.blackbox.repeats`. With `settings.tolerance` the result is the last map of `stream_attributions`.

    Of a latent model, one of the others goes to the image as the autoencoder restores it, unless the black box answers
    numbers, which decide nothing. It costs one pass of the encoder, and one decoding a query but the image's own.

    Raises:
        QueryBudgetExceeded: not even one query is left.
    """
    if settings.tolerance is not None:
        return deque(stream_attributions(black_box, denoiser, image, target, settings), maxlen=1).pop()
    question = _Question.about(black_box, denoiser, image, target)
    objective = question.objective(black_box, settings)
    ensembles = Ensembles(denoiser, question.seen.point, settings)
    ended_early = _ask(ensembles, black_box, settings.queries - question.seen.queries, black_box)
    return question.answered(ensembles, objective, ended_early=ended_early, repeats=question.again(black_box))


def stream_attributions(
    black_box: BlackBox,
    denoiser: Denoiser,
    image: Tensor,
    target: int | str | None,
    settings: Settings,
) -> Iterator[Attribution]:
    """Yield the map after 33 queries, and after every 16 more per noise level.

    It ends when the relative standard error is at most `settings.tolerance`. If `settings.queries` or the budget end
    before, the last status is `budget_exhausted`. It also ends, with `no_signal`, if all answers so far are the same.

    The unpaid particles are doubled while their number causes more than half of the allowed squared error. They can
    grow to 16 times `settings.particles`. This takes time and no queries.
    """
    assert settings.tolerance is not None
    tolerance = settings.tolerance
    question = _Question.about(black_box, denoiser, image, target)
    objective = question.objective(black_box, settings)
    ensembles, batch = Ensembles(denoiser, question.seen.point, settings), FIRST_BATCH
    most = left = settings.queries - question.seen.queries
    while True:
        ended_early = _ask(ensembles, black_box, min(batch, left), black_box)
        left, batch = most - ensembles.queries, BATCH * len(settings.noise)
        result = question.answered(ensembles, objective, ended_early=False)
        while _starved(result, tolerance) and ensembles.particles < MOST_GROWTH * settings.particles:
            ensembles.grow()
            result = question.answered(ensembles, objective, ended_early=False)
        reached = result.relative_error <= tolerance
        ended = ended_early or _affordable(left, black_box) < len(settings.noise)
        if reached or ended or result.status == Status.NO_SIGNAL:
            ended_early, again = ended and not reached, question.again(black_box)
            yield question.answered(ensembles, objective, ended_early=ended_early, repeats=again)
            return
        yield result


def calls_of_a_map(settings: Settings) -> list[int]:
    """The queries of each call that the next has to wait for, if the black box never ends early and the axes suffice.

    They are the calls of `attribute_image` without those at its end that tell a change of the black box. With a
    tolerance they are those of `stream_attributions` up to its last batch.
    """
    levels, asked, found = len(settings.noise), 0, [1]
    most = settings.queries - 1
    batch = most if settings.tolerance is None else FIRST_BATCH
    while most - levels * asked >= levels:
        more = min(batch, most - levels * asked) // levels
        found += _calls_of_a_level(settings.estimate, asked, asked + more) * levels
        asked, batch = asked + more, BATCH * levels
    return found


def denoisings_of_a_map(settings: Settings) -> int:
    """The particles that a map needs, at all levels, if its queries do not call for more than it draws at first."""
    levels = len(settings.noise)
    return levels * (unpaid_particles(settings) or (settings.queries - 1) // levels)


def _calls_of_a_level(estimate: str, before: int, queries: int) -> list[int]:
    """The calls of `freemcg.gradient.estimator.Ensemble.ask` after `before` queries."""
    on_axes = queries_on_axes(estimate, queries) - queries_on_axes(estimate, before)
    return [each for each in (on_axes, queries - before - on_axes) if each > 0]


def contrast_maps(
    black_box: BlackBox, denoiser: Denoiser, image: Tensor, classes: Sequence[int], settings: Settings
) -> dict[tuple[int, int], Attribution]:
    """Map what speaks for class `a` against class `b`, `log p_a - log p_b`, for every pair `(a, b)` of `classes`.

    All maps come from the same `settings.queries` queries, since an answer holds every class.
    """
    question = _Question.about(black_box, denoiser, image, None)
    ensembles, most = Ensembles(denoiser, question.seen.point, settings), settings.queries - question.seen.queries
    ended_early, again = _ask(ensembles, black_box, most, black_box), question.again(black_box)
    return {
        (first, second): replace(question, target=first).answered(
            ensembles, between(second), ended_early=ended_early, repeats=again
        )
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
    """The map of `black_box` minus that of `other`, with the standard error of the difference.

    Both are queried at the same points.
    It costs `settings.queries` queries of each. A model that may change is queried again as in `attribute_image`.

    Raises:
        ValueError: the two answer different numbers of classes.
    """
    question, before = _Question.about(black_box, denoiser, image, target), other.queries
    theirs = other(image[None])
    classes, objective = len(question.seen.log_probabilities), objective_of(named(settings.objective), black_box.scores)
    if theirs.shape[1] != classes:
        raise InvalidValue(
            f"the models must answer the same classes; one answers {classes}, the other {theirs.shape[1]}"
        )

    def both(images: Tensor) -> Tensor:
        try:
            return torch.cat([black_box(images), other(images)], dim=1)
        except QueryBudgetExceeded as error:
            error.answered = {}  # they are answers of one of the two alone
            raise

    def difference(answers: Tensor, target: int) -> Tensor:
        return objective(answers[:, :classes], target) - objective(answers[:, classes:], target)

    question = replace(question, labels=question.labels and other.scores == "label")
    ensembles = Ensembles(denoiser, question.seen.point, settings)
    ended_early = _ask(ensembles, both, settings.queries - question.seen.queries, black_box, other)
    result = question.answered(ensembles, difference, ended_early=ended_early, repeats=question.again(black_box))
    again = ask_again(other, image, theirs[0], since=before)
    noted = max(result.record, again.noted, key=lambda each: each.get("disagreement", 0.0))
    return replace(
        result, record={**result.record, **noted}, status=Status.MODEL_CHANGED if again.changed else result.status
    )


@dataclass(frozen=True)
class _Question:
    """The image, the class to explain, and the black box's answer for the image itself."""

    image: Tensor
    seen: Seen
    target: int
    decision: int
    began: float
    queries_before: int
    labels: bool

    @classmethod
    def about(cls, black_box: BlackBox, denoiser: Denoiser, image: Tensor, target: int | str | None) -> _Question:
        began, before = time.monotonic(), black_box.queries
        seen = look(black_box, denoiser, image, ask_restored=black_box.scores != VALUE)
        log_probabilities = seen.log_probabilities
        decision = int(log_probabilities.argmax())
        if black_box.scores == VALUE:
            if target is None and len(log_probabilities) > 1:
                raise InvalidValue(f"the model answers {len(log_probabilities)} numbers; say which one as target")
            decision = 0 if target is None else black_box.class_index(target)  # values have no decision
        explained = decision if target is None else black_box.class_index(target)
        return cls(image, seen, explained, decision, began, before, black_box.scores == "label")

    def again(self, black_box: BlackBox) -> Repeats:
        return ask_again(black_box, self.image, self.seen.log_probabilities, since=self.queries_before)

    def objective(self, black_box: BlackBox, settings: Settings) -> Objective:
        """The objective that is explained, tried on the first answer, so that a wrong one costs no other query."""
        objective = objective_of(named(settings.objective), black_box.scores)
        objective(self.seen.log_probabilities[None], self.target)
        return objective

    def answered(
        self, ensembles: Ensembles, objective: Objective, *, ended_early: bool, repeats: Repeats | None = None
    ) -> Attribution:
        """The map from the answers so far. Its errors are wider if they are bare labels: see `label_widening`."""
        local = ensembles.map(objective, self.target)
        projected = ensembles.projected_gradient(objective, self.target)
        parts, errors = local.parts, [local.standard_error, projected.standard_error]
        if self.labels:
            wider = label_widening(local.values)
            errors = [each * wider if local.has_signal else torch.full_like(each, wider) for each in errors]
            if parts is not None:
                parts = replace(parts, residual=math.inf if wider == math.inf else parts.residual * wider**2)
        status = Status.BUDGET_EXHAUSTED if ended_early else Status.COMPLETE if local.has_signal else Status.NO_SIGNAL
        return Attribution(
            values=local.gradient,
            standard_error=errors[0],
            image=self.image,
            log_probabilities=self.seen.log_probabilities,
            target=self.target,
            decision=self.decision,
            status=Status.MODEL_CHANGED if repeats is not None and repeats.changed else status,
            queries=self.seen.queries + ensembles.queries + (0 if repeats is None else repeats.queries),
            seconds=time.monotonic() - self.began,
            record={
                "settings": ensembles.settings.record(),
                **self.seen.noted,
                **({} if repeats is None else repeats.noted),
            },
            error_parts=None if parts is None else asdict(parts),
            projected_gradient=projected.gradient,
            projected_error=errors[1],
        )


def _ask(ensembles: Ensembles, ask: Ask, queries: int, *black_boxes: BlackBox) -> bool:
    """Query up to `queries` points, as far as the budgets reach, and return whether a budget ended first."""
    affordable = _affordable(queries, *black_boxes)
    try:
        ensembles.ask(ask, affordable)
    except QueryBudgetExceeded:
        return True
    return affordable < queries


def _affordable(queries: int, *black_boxes: BlackBox) -> int:
    return min([queries, *(each.remaining for each in black_boxes if each.remaining is not None)])


def _starved(result: Attribution, tolerance: float) -> bool:
    """Whether the error exceeds `tolerance`, and too few particles cause more than half of the allowed square."""
    if result.relative_error <= tolerance or result.error_parts is None:
        return False
    allowed = (tolerance * result.values.norm().item()) ** 2
    return bool(result.error_parts["sampling"] > allowed / 2)
