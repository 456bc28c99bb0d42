"""One start of a job: its work is shared out over the processes, they act together, and what they spend is said."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

from accelerate import PartialState
from tqdm import tqdm

from freemcg.blackbox import BlackBox
from freemcg.blackbox.likeness import unlike
from freemcg.diffusion.denoiser import Denoiser
from freemcg.jobs.processes import together
from freemcg.jobs.spending import Spending
from freemcg.messages.errors import InvalidValue
from freemcg.messages.terminal import say

T = TypeVar("T")


class Start:
    """The part of this process in one start of a job.

    Args:
        price_per_1000: the price of a thousand queries, in any currency. It is shown beside the queries.
        all_ask: whether all processes ask the black box, even if it has a budget.

    Attributes:
        speaks: whether this is the main process, which alone prints and writes tables.
        spending: what the black box is asked from here on.

    Raises:
        ValueError: the black box has a budget, and several processes would ask it.
    """

    def __init__(self, black_box: BlackBox, price_per_1000: float | None = None, *, all_ask: bool = False) -> None:
        self._state = PartialState()
        if all_ask and black_box.budget is not None and self._state.num_processes > 1:
            raise InvalidValue("a budget is counted in one process; start one process, or give the black box no budget")
        self.speaks = bool(self._state.is_main_process)
        self._looked = False
        self.spending = Spending(black_box, price_per_1000)

    def share(self, units: Sequence[T]) -> Sequence[T]:
        """The units that this process works on; each belongs to one process."""
        return units[self._state.process_index :: self._state.num_processes]

    @contextmanager
    def dealt(self, units: Sequence[T], denoiser: Denoiser) -> Iterator[Sequence[T]]:
        """The units that this process works on within the block.

        If there are fewer units than processes, the main process works on all of them, and the others denoise for it.
        So it is where the black box has a budget, which one process alone can count.
        """
        if self.spending.black_box.budget is not None or len(units) < self._state.num_processes:
            with denoiser.shared() as leads:
                yield units if leads else ()
        else:
            yield self.share(units)

    def together(self, act: Callable[[], T]) -> list[T]:
        """Act on every process, wait for all, and return what each returned. If one fails, none goes on."""
        return together(self._state, act)

    def each(self, units: Sequence[T], act: Callable[[T], None], *, title: str, unit: str) -> None:
        """Act on each unit in turn. A bar shows how far the main process is, and what it has spent.

        After the first unit that queries anything, a line says so if the answers do not look as declared.
        """
        bar = tqdm(units, desc=title, unit=unit, disable=not self.speaks)
        with bar, self.spending.shown(bar):
            for one in bar:
                act(one)
                self._say_what_answers_look_like()

    def saying_what_was_spent(self) -> AbstractContextManager[None]:
        """If the block ends with an error, say what was spent and what is kept, and raise the error."""
        return self.spending.said_if_broken_off(aloud=self.speaks)

    def _say_what_answers_look_like(self) -> None:
        read = self.spending.black_box.reading
        if self._looked or read.received is None:
            return
        self._looked = True
        line = unlike(read.kind, read.received)
        if line and self.speaks:
            with tqdm.external_write_mode():
                say(f"{line}. If {read.kind} is right, nothing is wrong", err=True)
