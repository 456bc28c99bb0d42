"""What measures counterfactuals beside their own record: known pictures, features, a judge, and the model, for COUT."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor

from freemcg.blackbox import BlackBox
from freemcg.comparison.counterfactuals import Sides, check_model, measure_sides, read_known
from freemcg.comparison.embedded import check_counts
from freemcg.comparison.judge import check_judge, judged
from freemcg.jobs.spending import Spending, price_text
from freemcg.messages.errors import InvalidValue
from freemcg.messages.terminal import say
from freemcg.models.features import load_features
from freemcg.models.load import load_black_box
from freemcg.results import Counterfactual

OF_TARGET = "those of the target's class, by the folders in which they lie"
OF_ANY = "those of any class, since not each lies in a folder named as a class"


class Pay(Protocol):
    """What is called before a black box is asked."""

    def __call__(self, black_box: BlackBox, *, spent: int = 0) -> None:
        """Give it the budget, less what was `spent` before, and the cache."""


@dataclass(frozen=True)
class Instruments:
    """What measures counterfactuals. Each may be missing.

    Attributes:
        known: known pictures, `(M, C, H, W)`.
        labels: their classes, if they lie in folders named as these.
        features: maps images to features `(N, F)`.
        judge: a second classifier.
        black_box, steps: the classifier that the searches asked, and the steps of COUT.
    """

    known: Tensor | None = None
    labels: list[int] | None = None
    features: Callable[[Tensor], Tensor] | None = None
    judge: BlackBox | None = None
    black_box: BlackBox | None = None
    steps: int = 0

    def measure(
        self,
        sides: Mapping[str, Mapping[str, Counterfactual]],
        left_out: int,
        *,
        pay: Pay,
        price_per_1000: float | None = None,
    ) -> tuple[Sides, dict[str, Spending]]:
        """Measure, and tell what each black box was asked, by the name for a line. The most is said before.

        Args:
            sides, left_out: as `freemcg.comparison.counterfactuals.read_sides` answers.
            pay: gives each black box its budget and its cache.
            price_per_1000: the price of a thousand queries, in any currency.

        A counterfactual costs one query of the judge, and `steps + 1` of the black box. If an error ends it, what was
        spent is said.
        """
        bills, verdicts = dict[str, Spending](), None
        answers = sum(len(side) for side in sides.values())

        def announced(name: str, what: str, most: int, black_box: BlackBox) -> None:
            say(f"{what}: at most {most} queries{price_text(most, price_per_1000)}", err=True)
            bills[name] = Spending(black_box, price_per_1000)
            said.enter_context(bills[name].said_if_broken_off(of=name, goes_on=black_box.cache is not None))

        if self.known is not None:
            say(f"nearest known: of {len(self.known)} pictures, {OF_TARGET if self.labels else OF_ANY}", err=True)
        with ExitStack() as said:
            if self.judge is not None:
                pay(self.judge)
                announced("the judge", "judge", answers, self.judge)
                verdicts = judged(sides, self.judge)
            if self.black_box is not None:
                pay(self.black_box, spent=0 if self.judge is None else self.judge.queries)
                announced("this start", "cout", answers * (self.steps + 1), self.black_box)
            found = measure_sides(
                sides,
                left_out,
                known=self.known,
                labels=self.labels,
                features=self.features,
                verdicts=verdicts,
                black_box=self.black_box,
                steps=self.steps,
            )
        return found, bills


def load_instruments(
    sides: Mapping[str, Mapping[str, Counterfactual]],
    *,
    references: Path | None,
    features: str | None,
    batch_size: int | None,
    judge: str | None,
    cout: int | None,
    load_model: Callable[[], BlackBox],
) -> Instruments:
    """Load what is named, and refuse what does not fit the counterfactuals. It costs no query.

    Args:
        sides: the counterfactuals.
        references: the folder of known pictures.
        features, judge: see `load_features` and `load_black_box`.
        batch_size: the most images in one call of the features.
        cout: the steps of COUT.
        load_model: loads the classifier that the searches asked. It is called for COUT alone.

    Raises:
        FileNotFoundError, ValueError, TypeError: something cannot be read, or does not fit.
    """
    pictures = next(iter(sides.values()))
    result = next(iter(pictures.values()))
    first = result.original
    if cout is not None and cout > first[0].numel():
        raise InvalidValue(f"--cout must be in 1..{first[0].numel()}, the pixels of a picture, got {cout}")
    known, labels = (None, None) if references is None else read_known(references, result)
    network = None if features is None else load_features(features, batch_size=batch_size)
    if network is not None:
        check_counts(len(pictures), known)
        network(first.expand(2, -1, -1, -1))  # refused here, if it answers no features
    # Only the order of a judge's scores counts, so logits stand for what an address does not tell.
    arbiter = None if judge is None else load_black_box(judge, scores="logits" if "://" in judge else None)
    if arbiter is not None:
        check_judge(sides, arbiter)
    black_box = None if cout is None else load_model()
    if black_box is not None:
        check_model(sides, black_box)
    return Instruments(known, labels, network, arbiter, black_box, cout or 0)
