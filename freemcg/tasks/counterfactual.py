"""Counterfactuals: search, then ask about the very images that would be saved, and answer with the best of them."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from freemcg.blackbox import BlackBox, QueryBudgetExceeded
from freemcg.blackbox.repeats import ask_again
from freemcg.diffusion.denoiser import Denoiser
from freemcg.diffusion.realism import denoising_error
from freemcg.gradient.estimator import draw_particles
from freemcg.gradient.objective import named
from freemcg.messages.errors import InvalidValue
from freemcg.results import ALREADY_TARGET, BUDGET_EXHAUSTED, MODEL_CHANGED, NO_SIGNAL, Counterfactual
from freemcg.settings import PaperSearch, Settings, SharedSearch
from freemcg.tasks.candidates import Candidates
from freemcg.tasks.checks import Checked, Checker
from freemcg.tasks.paper_search import paper_search
from freemcg.tasks.shared_search import shared_search

SEARCHES: dict[type, Callable[..., Candidates]] = {SharedSearch: shared_search, PaperSearch: paper_search}
PARTICLES_EACH = 8
CHECKS_EACH = 2
RUNNER_UP_QUERIES = 32


def find_counterfactual(
    black_box: BlackBox, denoiser: Denoiser, image: Tensor, target: int | str | None, settings: Settings
) -> Counterfactual:
    """Find a realistic image close to `image` `(C, H, W)` that is decided as `target` (`None`: as the runner-up).

    Costs what `search_counterfactuals` does; the search is that of `settings.search`, whose `queries` hold for all.

    Raises:
        ValueError: the search has too few queries to look for a runner-up as well.
        QueryBudgetExceeded: not even one query is left, so nothing can be said.
    """
    settings = _with_runner_up_paid(settings, black_box, target)
    return _find(black_box, denoiser, image, target, settings, n=1, checks=settings.search.checks)[0]


def find_diverse_counterfactuals(
    black_box: BlackBox, denoiser: Denoiser, image: Tensor, target: int | str | None, settings: Settings, n: int
) -> list[Counterfactual]:
    """Up to `n` counterfactuals that are far (L1) from one another, from one search with `8 n` particles.

    Costs at most `search.queries + 2 n (1 + search.copies)` queries.
    """
    settings = _with_runner_up_paid(settings, black_box, target)
    assert isinstance(settings.search, SharedSearch)
    search = SharedSearch(**{**dict(settings.search), "particles": PARTICLES_EACH * n})
    settings = settings.model_copy(update={"search": search})
    checks = search.queries - 1 - search.gradients * search.queries_per_gradient
    checks += CHECKS_EACH * n * (1 + search.copies)
    return _find(black_box, denoiser, image, target, settings, n=n, checks=checks)


def _with_runner_up_paid(settings: Settings, black_box: BlackBox, target: int | str | None) -> Settings:
    """The settings with a search that leaves the queries that `_runner_up` may ask."""
    if target is not None or not _hides_runner_up(black_box):
        return settings
    try:
        left = settings.search.without(RUNNER_UP_QUERIES)
    except ValueError:
        raise InvalidValue(
            f"search.queries of {settings.search.queries} is too small to look for a runner-up first, which takes "
            f"{RUNNER_UP_QUERIES} of them where only labels are answered; raise it, or name the target"
        ) from None
    return settings.model_copy(update={"search": left})


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
    search, objective = settings.search, named(settings.objective)
    run = SEARCHES[type(search)]
    return search_counterfactuals(
        lambda wanted: run(black_box, denoiser, image, wanted, objective, search, seed=settings.seed),
        black_box,
        denoiser,
        image,
        target,
        n=n,
        checks=checks,
        confidence=search.confidence,
        copies=search.copies,
        strength=search.strength,
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
    copies: int = 0,
    strength: float = 0.6,
    seed: int,
) -> list[Counterfactual]:
    """What every counterfactual method does around its search: ask about the image, and about the candidates found.

    Candidates are asked about as 8-bit images, as a file holds them, one after another: first the nearest to the input
    (L1), and once there are answers that which is farthest from them; those that the search expects to fail come last.
    The first `n` that are decided as the target with `confidence` are the answers. If none is, the one answer is the
    most probable of those decided so at all, else the most probable.

    With `copies`, a candidate decided as the target is only as probable as the mean over it and so many denoised noisy
    copies (at noise level 0.4). A bare label says nothing of how far an image is from being decided otherwise; how many
    of its copies keep the label does (randomised smoothing: Cohen et al. 2019, with copies on the manifold). Where
    copies cannot be paid for, the checks end.

    Without a target, the runner-up is the second class of the answer for the image. A bare label names none, so 32
    particles are asked about, and the class decided most often, but for that of the image, is it. Where all are
    decided alike the status is `no_signal`, and the target of the result means nothing.

    Args:
        search: from the class wanted to candidates.
        image: `(C, H, W)` in [0, 1], where the denoiser is.
        target: class index or name; `None` takes the runner-up.
        checks: the most queries for candidates. Under a budget of the black box, so many are kept back from the search.
        confidence: probability of the target that is enough.
        copies: of each candidate that is decided as the target.
        strength: noise level of the particles that tell the runner-up of a bare label.
        seed: of the noise with which realism is measured, and of the copies.

    Costs one query for the image, 32 where a runner-up must be looked for, those of the search, one for each candidate
    that is checked, and `copies` for each of them that is decided as the target; if the black box may change, one more
    at the end, and four where the answer differs. The `queries` and `seconds` of each answer are those of all together.

    Raises:
        QueryBudgetExceeded: not even one query is left, so nothing can be said.
    """
    began, sent, before = time.monotonic(), black_box.queries, black_box.known
    if target is not None:
        target = black_box.class_index(target)
    original = black_box(image[None])[0]
    decision, status = int(original.argmax()), None
    if target is None:
        wanted, status = _runner_up(black_box, denoiser, image, original, strength, seed)
    else:
        wanted = black_box.class_index(target)
    if decision == wanted:
        status = ALREADY_TARGET
    elif black_box.remaining == 0 and status is None:
        status = BUDGET_EXHAUSTED
    if status is not None:
        answers = [Checked(image, image[None], original, status)]
    else:
        with black_box.reserving(checks):
            found = search(wanted)
        checker = Checker(black_box, denoiser, wanted, confidence=confidence, copies=copies, seed=seed)
        answers = checker.check(found, image, n=n, most=checks)
        answers = answers or [Checked(image, image[None], original, BUDGET_EXHAUSTED)]
    again = ask_again(black_box, image, original, since=sent)
    errors = denoising_error(denoiser, torch.stack([image, *(answer.image for answer in answers)]), seed=seed)
    queries, seconds = black_box.known - before, time.monotonic() - began
    return [
        Counterfactual(
            image=answer.image,
            original=image,
            path=answer.path,
            log_probabilities=answer.log_probabilities,
            original_log_probabilities=original,
            target=wanted,
            decision=answer.decision,
            original_decision=decision,
            l1=(answer.image - image).abs().mean().item(),
            l2=(answer.image - image).norm().item(),
            realism=(error / errors[0]).item(),
            status=MODEL_CHANGED if again.changed else answer.status,
            queries=queries,
            seconds=seconds,
            record=again.noted,
        )
        for answer, error in zip(answers, errors[1:], strict=True)
    ]


def _hides_runner_up(black_box: BlackBox) -> bool:
    return black_box.scores == "label" and (black_box.num_classes or 0) > 2


def _runner_up(
    black_box: BlackBox, denoiser: Denoiser, image: Tensor, original: Tensor, strength: float, seed: int
) -> tuple[int, str | None]:
    """The second class of an answer, and the status where there is no reason for it: see `search_counterfactuals`."""
    decision, second = original.argsort(descending=True)[:2].tolist()
    if not _hides_runner_up(black_box):
        return second, None
    left = black_box.remaining
    asked = RUNNER_UP_QUERIES if left is None else min(RUNNER_UP_QUERIES, left)
    if asked == 0:
        return second, BUDGET_EXHAUSTED
    particles = draw_particles(denoiser, image, denoiser.timestep(strength), asked, seed=seed)
    unheard = NO_SIGNAL
    try:
        decisions = black_box(particles).argmax(dim=1)
    except QueryBudgetExceeded as error:  # within retries; what was answered by then tells too
        decisions = torch.tensor([int(row.argmax()) for row in error.answered.values()], dtype=torch.long)
        unheard = BUDGET_EXHAUSTED
    others = decisions[decisions != decision]
    return (int(others.mode().values), None) if len(others) else (second, unheard)
