"""Counterfactuals: search, then ask about the very images that would be saved, and answer with the best of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from freemcg.blackbox import BlackBox
from freemcg.candidates import Candidates
from freemcg.denoiser import Denoiser
from freemcg.paper import paper_search
from freemcg.realism import denoising_error
from freemcg.results import (
    ALREADY_TARGET,
    BUDGET_EXHAUSTED,
    COMPLETE,
    NO_SIGNAL,
    NOT_FLIPPED,
    Counterfactual,
)
from freemcg.search import shared_search
from freemcg.settings import PaperSearch, Settings, SharedSearch

SEARCHES: dict[type, Callable[..., Candidates]] = {SharedSearch: shared_search, PaperSearch: paper_search}


def find_counterfactual(
    black_box: BlackBox, denoiser: Denoiser, image: Tensor, target: int | str | None, settings: Settings
) -> Counterfactual:
    """Find a realistic image close to `image` `(C, H, W)` that is decided as `target` (`None`: as the runner-up).

    Costs what `search_counterfactual` does; the search is that of `settings.search`.

    Raises:
        QueryBudgetExceeded: not even one query is left, so nothing can be said.
    """
    search = settings.search
    run = SEARCHES[type(search)]
    return search_counterfactual(
        lambda wanted: run(black_box, denoiser, image, wanted, settings.objective_function, search, seed=settings.seed),
        black_box,
        denoiser,
        image,
        target,
        candidates=1 if isinstance(search, PaperSearch) else search.particles,
        confidence=getattr(search, "confidence", 0.5),
        seed=settings.seed,
    )


def search_counterfactual(
    search: Callable[[int], Candidates],
    black_box: BlackBox,
    denoiser: Denoiser,
    image: Tensor,
    target: int | str | None,
    *,
    candidates: int,
    confidence: float,
    seed: int,
) -> Counterfactual:
    """What every counterfactual method does around its search: ask about the image, and about the candidates found.

    The candidates are asked about as 8-bit images, as a file holds them. The answer is the nearest (L1) of those
    decided as the target with `confidence`, else the most probable of those decided so at all, else the most probable.

    Args:
        search: from the class wanted to candidates.
        image: `(C, H, W)` in [0, 1], where the denoiser is.
        target: class index or name; `None` takes the runner-up.
        candidates: the most that `search` answers. Under a budget, so many queries are kept back from it.
        seed: of the noise with which realism is measured.

    Costs one query for the image, those of the search, and one for each candidate.

    Raises:
        QueryBudgetExceeded: not even one query is left, so nothing can be said.
    """
    began, before = time.monotonic(), black_box.queries
    if target is not None:
        target = black_box.class_index(target)
    original = black_box(image[None])[0]
    wanted = int(original.argsort(descending=True)[1]) if target is None else black_box.class_index(target)
    decision = int(original.argmax())
    if decision == wanted or black_box.remaining == 0:
        found, answers, best = Candidates(image[None], image[None, None]), original[None], 0
        status = ALREADY_TARGET if decision == wanted else BUDGET_EXHAUSTED
    else:
        with black_box.reserving(candidates):
            found = search(wanted)
        found, answers = _ask_as_files(black_box, found, image)
        best, status = _choose(found, answers, wanted, confidence)
    answer = found.images[best]
    errors = denoising_error(denoiser, torch.stack([image, answer]), seed=seed)
    change = answer - image
    return Counterfactual(
        image=answer,
        original=image,
        path=found.paths[:, best],
        log_probabilities=answers[best],
        original_log_probabilities=original,
        target=wanted,
        decision=int(answers[best].argmax()),
        original_decision=decision,
        l1=change.abs().mean().item(),
        l2=change.norm().item(),
        realism=(errors[1] / errors[0]).item(),
        status=status,
        queries=black_box.queries - before,
        seconds=time.monotonic() - began,
        record={},
    )


def as_file(images: Tensor) -> Tensor:
    """What an 8-bit file holds of images in [0, 1]."""
    return (images * 255).round() / 255


def _ask_as_files(black_box: BlackBox, found: Candidates, image: Tensor) -> tuple[Candidates, Tensor]:
    """Round the candidates to 8 bits and ask about them, nearest first, as far as the budget reaches."""
    rounded = as_file(found.images)
    order = (rounded - image).abs().flatten(1).mean(dim=1).argsort(stable=True)
    affordable = len(order) if black_box.remaining is None else min(len(order), black_box.remaining)
    asked = replace(
        found,
        images=rounded[order[:affordable]],
        paths=found.paths[:, order[:affordable]],
        exhausted=found.exhausted or affordable < len(order),
    )
    return asked, black_box(asked.images)


def _choose(found: Candidates, answers: Tensor, target: int, confidence: float) -> tuple[int, str]:
    """The best of candidates that are ordered by their distance from the input, and the status it earns."""
    probabilities = answers[:, target].exp()
    decided = answers.argmax(dim=1) == target
    sure = decided & (probabilities >= confidence)
    if sure.any():
        best = int(sure.nonzero()[0])
    else:
        best = int(torch.where(decided, 1 + probabilities, probabilities).argmax())
    if decided[best]:
        return best, COMPLETE
    return best, BUDGET_EXHAUSTED if found.exhausted else NO_SIGNAL if found.no_signal else NOT_FLIPPED
