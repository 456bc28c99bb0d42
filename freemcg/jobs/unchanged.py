"""Does a model still answer as it did when the results in a folder were made? One of their images is asked again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from freemcg.blackbox import BlackBox, Receipt
from freemcg.blackbox.reading import OtherClasses
from freemcg.blackbox.repeats import Repeats, repeated
from freemcg.blackbox.scores import VALUE
from freemcg.jobs.items import RECEIPT, RESULT, Item
from freemcg.messages.errors import InvalidValue
from freemcg.messages.terminal import say
from freemcg.results import Attribution, load_result


@dataclass(frozen=True)
class Answered:
    """The answer to one image: the image's name, its pixels `(C, H, W)`, and the scores as received, `(S,)`."""

    name: str
    image: Tensor
    scores: Tensor


def oldest_answer(items: Sequence[Item]) -> Answered | None:
    """The answer for the image of the oldest result that is done; `None` if there is none."""
    done = [item for item in items if item.done]
    if not done:
        return None
    oldest = min(done, key=lambda item: (item.folder / RESULT).stat().st_mtime_ns)
    result, receipt = load_result(oldest.folder / RESULT), Receipt.load(oldest.folder / RECEIPT)
    image = result.image if isinstance(result, Attribution) else result.original
    return Answered(oldest.name, image, receipt.questions[0].answers[0])


def check_unchanged(black_box: BlackBox, then: Answered, out: Path) -> None:
    """Refuse to go on with the results in `out` if their model answers otherwise now. Say in a line what was asked.

    Costs 1 query past any cache. If the answer differs, 3 more queries tell a change from noise. A budget may leave
    fewer, and nothing is compared if it leaves none. Nothing is asked if the identity of the black box tells a change.

    Raises:
        ValueError: the model answers otherwise.
    """
    if black_box.identity_is_whole:
        return
    before = black_box.queries
    try:
        found = _asked_again(black_box, then)
    except OtherClasses as error:
        raise _refusal(then, out, str(error)) from None
    asked = black_box.queries - before
    if not asked:
        say(f"the budget holds no query to ask whether the model still answers as when {out} was made", err=True)
        return
    differs = f"{'a value' if black_box.scores == VALUE else 'a probability'} differs by {found.disagreement:.2g}"
    if found.changed or (asked == 1 and not found.alike):
        raise _refusal(then, out, f"{differs}; queries: {asked}")
    how = "as it did" if found.alike else f"as it did but for its noise ({differs})"
    say(f"asked {then.name} again, which was done before: the model answers {how}; queries: {asked}", err=True)


def _asked_again(black_box: BlackBox, then: Answered) -> Repeats:
    if black_box.num_classes is None:
        black_box.reading.num_classes = len(then.scores)
    (row,) = black_box.reading.meant(then.scores[None])
    return repeated(black_box, then.image, row.to(then.image.device))


def _refusal(then: Answered, out: Path, why: str) -> InvalidValue:
    return InvalidValue(
        f"{then.name} was asked again, and the model answers otherwise than when the results in {out} were made "
        f"({why}); give another --out, or delete it to start anew"
    )
