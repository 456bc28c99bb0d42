"""The rounds of a search: each asks about its candidates, and the next begins only if none of them is sure enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from freemcg.results import Status
from freemcg.tasks.candidates import Candidates
from freemcg.tasks.checks import Checked, Checker


@dataclass(frozen=True)
class Round:
    """One round.

    Attributes:
        search: finds candidates for a target, from the trail of the answer that it goes on from; see
            `Candidates.trail`. Without one it begins at the input.
        checks: the most queries for its candidates.
        goes_on: whether it goes on from the best answer of the rounds before it, back to the last that does not. Those
            are one try.
    """

    search: Callable[[int, Tensor | None], Candidates]
    checks: int
    goes_on: bool = False


def searched(
    rounds: Sequence[Round], checker: Checker, image: Tensor, *, n: int, kept_back: int
) -> tuple[Candidates | None, list[Checked]]:
    """The best answers of the rounds, and the candidates that they are of. There are none without any answer.

    A further round begins only if no answer is decided as the target with the wanted confidence, although the answers
    differed in some round. So a round that saw no difference itself says nothing of the others.

    Args:
        image: the input, `(C, H, W)`.
        n: the answers wanted.
        kept_back: queries that are kept for what follows the search, beside those for the candidates of a round.
    """
    best: list[Checked] = []
    found: Candidates | None = None
    here: tuple[Candidates, Checked] | None = None  # the best of this try
    signal = False
    for number, each in enumerate(rounds, start=1):
        here = here if each.goes_on else None
        with checker.black_box.reserving(each.checks + kept_back):
            candidates = each.search(checker.target, None if here is None else _trail(*here))
        answers = checker.check(candidates, image, n=n, most=each.checks)
        signal = signal or not candidates.no_signal
        if answers and (here is None or checker.rank(answers[0]) > checker.rank(here[1])):
            here = candidates, answers[0]
        if answers and (not best or checker.rank(answers[0]) > checker.rank(best[0])):
            best, found = answers, candidates
        if best and checker.suffices(best[0]):
            break
        if candidates.exhausted or not answers or (checker.black_box.remaining == 0 and number < len(rounds)):
            if best and best[0].decision != checker.target:
                best = [replace(answer, status=Status.BUDGET_EXHAUSTED) for answer in best]
            break
        if answers[0].status == Status.NO_SIGNAL and not signal:
            break
    if signal:
        best = [replace(each, status=Status.NOT_FLIPPED) if each.status == Status.NO_SIGNAL else each for each in best]
    return found, best


def _trail(found: Candidates, answer: Checked) -> Tensor | None:
    return None if answer.index is None else found.trail(answer.index)
