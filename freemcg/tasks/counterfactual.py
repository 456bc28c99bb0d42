"""Counterfactuals: search, then query the very images that would be saved, and return the best of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from freemcg.blackbox import BlackBox
from freemcg.blackbox.repeats import ask_again
from freemcg.diffusion.denoiser import Denoiser
from freemcg.diffusion.realism import denoising_error
from freemcg.gradient.objective import named
from freemcg.results import Counterfactual, Status
from freemcg.settings import PaperSearch, Settings, SharedSearch
from freemcg.tasks.along_path import Along, ask_along
from freemcg.tasks.candidates import Candidates
from freemcg.tasks.checks import Checked, Checker
from freemcg.tasks.paper_search import paper_search
from freemcg.tasks.restored import look
from freemcg.tasks.rounds import Round, searched
from freemcg.tasks.runner_up import runner_up, with_runner_up_paid
from freemcg.tasks.shared_search import shared_search
from freemcg.tasks.trimming import trimmed

SEARCHES: dict[type, Callable[..., Candidates]] = {SharedSearch: shared_search, PaperSearch: paper_search}
PARTICLES_EACH = 8
CHECKS_EACH = 2


def find_counterfactual(
    black_box: BlackBox, denoiser: Denoiser, image: Tensor, target: int | str | None, settings: Settings
) -> Counterfactual:
    """Find a realistic image close to `image` `(C, H, W)` that is decided as `target`. `None` means the runner-up.

    `settings.search` says how. The cost is that of `search_counterfactuals`, at most `settings.search.queries` in all.
    With `settings.ask_path`, it is at most `settings.search.frames` more.

    Raises:
        ValueError: the search has too few queries to look for a runner-up as well.
        QueryBudgetExceeded: not even one query is left.
    """
    settings = with_runner_up_paid(settings, black_box, target)
    settings, ask_restored = _with_restored_paid(settings, denoiser)
    checks = settings.search.checks
    return _find(black_box, denoiser, image, target, settings, n=1, checks=checks, ask_restored=ask_restored)[0]


def find_diverse_counterfactuals(
    black_box: BlackBox, denoiser: Denoiser, image: Tensor, target: int | str | None, settings: Settings, n: int
) -> list[Counterfactual]:
    """Find up to `n` counterfactuals that are far (L1) from one another, in one search with `8 n` particles.

    It costs at most `search.queries + 2 n (1 + search.copies)` queries, and `n * search.frames` more with
    `settings.ask_path`.
    """
    settings = with_runner_up_paid(settings, black_box, target)
    settings, ask_restored = _with_restored_paid(settings, denoiser)
    assert isinstance(settings.search, SharedSearch)
    once = {"particles": PARTICLES_EACH * n, "tries": 1, "rounds": 1, "trim": 0}
    search = SharedSearch(**{**dict(settings.search), **once})
    settings = settings.model_copy(update={"search": search})
    checks = search.queries - 1 - search.gradients * search.queries_per_gradient
    checks += CHECKS_EACH * n * (1 + search.copies)
    return _find(black_box, denoiser, image, target, settings, n=n, checks=checks, ask_restored=ask_restored)


def _with_restored_paid(settings: Settings, denoiser: Denoiser) -> tuple[Settings, bool]:
    """The settings, with one query left for the image as the autoencoder restores it, and whether it is there.

    It is not for a model on pixels, nor if the search has no query to spare. The paper's search never has.
    """
    search = settings.search
    if denoiser.space.of_pixels or not isinstance(search, SharedSearch):
        return settings, False
    try:
        return settings.model_copy(update={"search": search.without(1)}), True
    except ValueError:
        return settings, False


def _find(
    black_box: BlackBox,
    denoiser: Denoiser,
    image: Tensor,
    target: int | str | None,
    settings: Settings,
    *,
    n: int,
    checks: int,
    ask_restored: bool,
) -> list[Counterfactual]:
    search, objective = settings.search, named(settings.objective)
    whole = black_box.remaining is None or black_box.remaining >= search.queries  # else all goes to the search

    def run(search: SharedSearch | PaperSearch, seed: int) -> Callable[[int, Tensor | None], Candidates]:
        def searched(wanted: int, begun: Tensor | None) -> Candidates:
            going_on = {} if begun is None else {"begun": begun}
            return SEARCHES[type(search)](black_box, denoiser, image, wanted, objective, search, seed=seed, **going_on)

        return searched

    a_try = [(search, checks, False), *((each, each.checks, True) for each in search.later)]
    rounds = [
        Round(run(each, settings.seed + number), most, goes_on)
        for number, (each, most, goes_on) in enumerate(a_try * search.tries)
    ]
    return search_counterfactuals(
        rounds,
        black_box,
        denoiser,
        image,
        target,
        n=n,
        confidence=search.confidence,
        copies=search.copies,
        trim=search.trim if whole else 0,
        strength=search.strength,
        ask_restored=ask_restored,
        ask_path=settings.ask_path,
        seed=settings.seed,
    )


def search_counterfactuals(
    rounds: Sequence[Round],
    black_box: BlackBox,
    denoiser: Denoiser,
    image: Tensor,
    target: int | str | None,
    *,
    n: int = 1,
    confidence: float,
    copies: int = 0,
    trim: int = 0,
    strength: float = 0.6,
    ask_restored: bool = False,
    ask_path: bool = False,
    seed: int,
) -> list[Counterfactual]:
    """Query the image, search, and query the candidates found. Every counterfactual method shares these steps.

    Candidates are queried one after another, as the 8-bit images that a file holds. The nearest to the input (L1) comes
    first. Once there are good answers, the candidate farthest from them comes next. Candidates that the search expects
    to fail come last. The first `n` that are decided as the target with `confidence` are returned. If none is, one
    image is returned: the most probable of those decided as the target, else the most probable of all.

    With `copies`, a candidate decided as the target is also queried as so many denoised noisy copies (noise level 0.4).
    Its probability is then the mean over itself and its copies. A bare label does not tell how close an image is to
    another decision. The share of its copies that keep the label does. This is randomised smoothing (Cohen et al.
    2019) with copies on the manifold. If too few queries are left for the copies, no more candidates are queried.

    Without a target, the runner-up is the second class of the answer for the image. A bare label has no second class,
    so 32 particles are queried. The runner-up is then the class decided most often, apart from the image's own. If all
    are decided alike, the status is `no_signal`, and the target of the result means nothing.

    Args:
        rounds: the rounds of the search. Each later one begins only if no image found before is decided as the target
            with `confidence`, although the answers differed. The best attempt of all is returned. If the black box has
            a budget, the checks of a round are kept back from it.
        image: `(C, H, W)` in [0, 1], on the denoiser's device.
        target: a class index or name. `None` means the runner-up.
        confidence: the probability of the target that is enough.
        copies: the copies of each candidate that is decided as the target.
        trim: the most queries for `freemcg.tasks.trimming.trimmed`, which makes the answer's change smaller. They are
            kept back from the search as well.
        strength: the noise level of the particles that tell the runner-up of a bare label.
        ask_restored: whether a latent model's image is also queried as its autoencoder restores it, with the image;
            see `freemcg.tasks.restored`.
        ask_path: whether the path of each answer is queried as well; see `freemcg.tasks.along_path`. Nothing is asked
            if no search was made.
        seed: the seed of the noise that measures realism, and of the copies.

    The cost is one query for the image, one more with `ask_restored`, 32 if a runner-up must be looked for, and that of
    the search. Each candidate queried costs one, and `copies` more if it is decided as the target. With `ask_path`,
    each answer costs at most one for each image of its path. If the black box may change, the image is queried once
    more at the end, and four times if the answer differs. The `queries` and `seconds` of each result are those of all
    results together.

    Raises:
        QueryBudgetExceeded: not even one query is left.
    """
    began, sent, before = time.monotonic(), black_box.queries, black_box.known
    if target is not None:
        target = black_box.class_index(target)
    seen, found = look(black_box, denoiser, image, ask_restored=ask_restored), None
    original = seen.log_probabilities
    decision, status = int(original.argmax()), None
    if target is None:
        wanted, status = runner_up(black_box, denoiser, image, original, strength, seed)
    else:
        wanted = black_box.class_index(target)
    if decision == wanted:
        status = Status.ALREADY_TARGET
    elif black_box.remaining == 0 and status is None:
        status = Status.BUDGET_EXHAUSTED
    if status is not None:
        answers = checked = [Checked(image, None, original, status)]
    else:
        checker = Checker(black_box, denoiser, wanted, confidence=confidence, copies=copies, seed=seed)
        found, checked = searched(rounds, checker, image, n=n, kept_back=trim)
        answers = [trimmed(checker, answer, image, trim) for answer in checked]
        if not checked:
            answers = checked = [Checked(image, None, original, Status.BUDGET_EXHAUSTED)]
    paths = [_path(found, answer, image) for answer in answers]
    along = [
        ask_along(black_box, path, both) if ask_path and both[0].index is not None else Along()
        for path, *both in zip(paths, answers, checked, strict=True)
    ]
    repeated = ask_again(black_box, image, original, since=sent)
    errors = denoising_error(denoiser, torch.stack([image, *(answer.image for answer in answers)]), seed=seed)
    queries, seconds = black_box.known - before, time.monotonic() - began
    return [
        Counterfactual(
            image=answer.image,
            original=image,
            path=path,
            log_probabilities=answer.log_probabilities,
            original_log_probabilities=original,
            target=wanted,
            decision=answer.decision,
            original_decision=decision,
            l1=(answer.image - image).abs().mean().item(),
            l2=(answer.image - image).norm().item(),
            realism=(error / errors[0]).item(),
            status=Status.MODEL_CHANGED if repeated.changed else answer.status,
            queries=queries,
            seconds=seconds,
            record={**seen.noted, **_noted(answer), **each.noted, **repeated.noted},
            path_log_probabilities=each.log_probabilities,
        )
        for answer, path, each, error in zip(answers, paths, along, errors[1:], strict=True)
    ]


def _path(found: Candidates | None, answer: Checked, image: Tensor) -> Tensor:
    if found is None or answer.index is None:
        return image[None]
    path = found.path(answer.index)
    return path if answer.trimmed is None else torch.cat([path, answer.image[None]])


def _noted(answer: Checked) -> dict[str, Any]:
    if answer.trimmed is None:
        return {}
    kept, regions = answer.trimmed
    return {"trimmed": {"kept": kept, "regions": regions}}
