"""Counterfactuals: search, then ask about the very images that would be saved, and answer with the best of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from freemcg.blackbox import BlackBox, QueryBudgetExceeded
from freemcg.blackbox.repeats import ask_again
from freemcg.candidates import Candidates
from freemcg.denoiser import Denoiser
from freemcg.images import as_file
from freemcg.paper import paper_search
from freemcg.realism import denoising_error
from freemcg.results import (
    ALREADY_TARGET,
    BUDGET_EXHAUSTED,
    COMPLETE,
    MODEL_CHANGED,
    NO_SIGNAL,
    NOT_FLIPPED,
    Counterfactual,
)
from freemcg.search import shared_search
from freemcg.settings import PaperSearch, Settings, SharedSearch

SEARCHES: dict[type, Callable[..., Candidates]] = {SharedSearch: shared_search, PaperSearch: paper_search}
PARTICLES_EACH = 8
CHECKS_EACH = 2


def find_counterfactual(
    black_box: BlackBox, denoiser: Denoiser, image: Tensor, target: int | str | None, settings: Settings
) -> Counterfactual:
    """Find a realistic image close to `image` `(C, H, W)` that is decided as `target` (`None`: as the runner-up).

    Costs what `search_counterfactuals` does; the search is that of `settings.search`.

    Raises:
        QueryBudgetExceeded: not even one query is left, so nothing can be said.
    """
    search = settings.search
    checks = 1 if isinstance(search, PaperSearch) else search.checks
    return _find(black_box, denoiser, image, target, settings, n=1, checks=checks)[0]


def find_diverse_counterfactuals(
    black_box: BlackBox, denoiser: Denoiser, image: Tensor, target: int | str | None, settings: Settings, n: int
) -> list[Counterfactual]:
    """Up to `n` counterfactuals that are far (L1) from one another, from one search with `8 n` particles.

    Costs at most `search.budget + 2 n` queries.
    """
    assert isinstance(settings.search, SharedSearch)
    search = SharedSearch(**{**dict(settings.search), "particles": PARTICLES_EACH * n})
    settings = settings.model_copy(update={"search": search})
    checks = search.budget - 1 - search.gradients * search.queries_per_gradient + CHECKS_EACH * n
    return _find(black_box, denoiser, image, target, settings, n=n, checks=checks)


def _find(
    black_box: BlackBox,
    denoiser: Denoiser,
    image: Tensor,
    target: int | str | None,
    settings: Settings,
    *,
    n: int,
    checks: int,
) -> list[Counterfactual]:
    search = settings.search
    run = SEARCHES[type(search)]
    return search_counterfactuals(
        lambda wanted: run(black_box, denoiser, image, wanted, settings.objective_function, search, seed=settings.seed),
        black_box,
        denoiser,
        image,
        target,
        n=n,
        checks=checks,
        confidence=getattr(search, "confidence", 0.5),
        seed=settings.seed,
    )


def search_counterfactuals(
    search: Callable[[int], Candidates],
    black_box: BlackBox,
    denoiser: Denoiser,
    image: Tensor,
    target: int | str | None,
    *,
    n: int = 1,
    checks: int,
    confidence: float,
    seed: int,
) -> list[Counterfactual]:
    """What every counterfactual method does around its search: ask about the image, and about the candidates found.

    Candidates are asked about as 8-bit images, as a file holds them, one after another: first the nearest to the input
    (L1), and once there are answers that which is farthest from them; those that the search expects to fail come last.
    The first `n` that are decided as the target with `confidence` are the answers. If none is, the one answer is the
    most probable of those decided so at all, else the most probable.

    Args:
        search: from the class wanted to candidates.
        image: `(C, H, W)` in [0, 1], where the denoiser is.
        target: class index or name; `None` takes the runner-up.
        checks: the most candidates that are asked about. Under a budget of the black box, so many queries are kept
            back from the search.
        seed: of the noise with which realism is measured.

    Costs one query for the image, those of the search, and one for each candidate that is checked; if the black box
    may change, one more at the end, and four where the answer differs. The `queries` and
    `seconds` of each answer are those of all together.

    Raises:
        QueryBudgetExceeded: not even one query is left, so nothing can be said.
    """
    began, before = time.monotonic(), black_box.queries
    if target is not None:
        target = black_box.class_index(target)
    original = black_box(image[None])[0]
    wanted = int(original.argsort(descending=True)[1]) if target is None else black_box.class_index(target)
    if int(original.argmax()) == wanted or black_box.remaining == 0:
        status = ALREADY_TARGET if int(original.argmax()) == wanted else BUDGET_EXHAUSTED
        answers = [_Answer(image, image[None], original, status)]
    else:
        with black_box.reserving(checks):
            found = search(wanted)
        answers = _check(black_box, found, image, wanted, n, checks, confidence)
        answers = answers or [_Answer(image, image[None], original, BUDGET_EXHAUSTED)]
    again = ask_again(black_box, image, original, since=before)
    errors = denoising_error(denoiser, torch.stack([image, *(answer.image for answer in answers)]), seed=seed)
    queries, seconds = black_box.queries - before, time.monotonic() - began
    return [
        Counterfactual(
            image=answer.image,
            original=image,
            path=answer.path,
            log_probabilities=answer.log_probabilities,
            original_log_probabilities=original,
            target=wanted,
            decision=answer.decision,
            original_decision=int(original.argmax()),
            l1=(answer.image - image).abs().mean().item(),
            l2=(answer.image - image).norm().item(),
            realism=(error / errors[0]).item(),
            status=MODEL_CHANGED if again.changed else answer.status,
            queries=queries,
            seconds=seconds,
            record={},
        )
        for answer, error in zip(answers, errors[1:], strict=True)
    ]


@dataclass(frozen=True)
class _Answer:
    """A candidate as the 8-bit image it was asked about, its way there, and what was answered."""

    image: Tensor
    path: Tensor
    log_probabilities: Tensor
    status: str

    @property
    def decision(self) -> int:
        return int(self.log_probabilities.argmax())

    def rank(self, target: int) -> float:
        """The probability of the target, above 1 where it is also the decision."""
        return self.log_probabilities[target].exp().item() + (self.decision == target)


def _check(
    black_box: BlackBox, found: Candidates, image: Tensor, target: int, n: int, checks: int, confidence: float
) -> list[_Answer]:
    """The answers of `search_counterfactuals`; none where the budget ended before the first of them."""
    rounded = as_file(found.images)
    likely = torch.ones(len(rounded), dtype=torch.bool) if found.likely is None else found.likely
    left = torch.arange(len(rounded))
    affordable = checks if black_box.remaining is None else min(checks, black_box.remaining)
    ended = affordable < min(checks, len(rounded))
    good: list[_Answer] = []
    rest: list[_Answer] = []
    for _ in range(min(affordable, len(rounded))):
        if good:
            apart = torch.stack([_distance(rounded, answer.image) for answer in good]).amin(dim=0)
        else:
            apart = -_distance(rounded, image)
        preference = apart.cpu() + 2 * likely  # a distance is at most 1
        index = int(left[preference[left].argmax()])
        left = left[left != index]
        try:
            log_probabilities = black_box(rounded[index][None])[0]
        except QueryBudgetExceeded:
            ended = True
            break
        flipped = int(log_probabilities.argmax()) == target
        answer = _Answer(rounded[index], found.paths[:, index], log_probabilities, COMPLETE)
        (good if flipped and log_probabilities[target].exp() >= confidence else rest).append(answer)
        if len(good) == n:
            break
    if good or not rest:
        return good
    best = max(rest, key=lambda answer: answer.rank(target))
    if best.decision == target:
        return [best]
    status = BUDGET_EXHAUSTED if found.exhausted or ended else NO_SIGNAL if found.no_signal else NOT_FLIPPED
    return [_Answer(best.image, best.path, best.log_probabilities, status)]


def _distance(images: Tensor, image: Tensor) -> Tensor:
    """Mean absolute difference of a pixel, `(N,)`."""
    return (images - image).abs().flatten(1).mean(dim=1)
