"""Several processes denoise for the main one.

The main process alone knows what is explained, and alone asks the black box. It hands out noisy points, each process
denoises its share, and the main process gets all back. So the processes cannot disagree about where a search goes, and
one process counts the queries.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from torch import Tensor
from torch.distributed import gather_object

from freemcg.messages.errors import SLIP, LostProcess, failed_elsewhere, sentence_of, show_traceback, status_of

Compute = Callable[[Tensor, int | None], Tensor]
End = tuple[tuple[int, str] | None, Tensor | None]
"""The exit status and the sentence of an error, if there was one, and else the rows that were computed."""


class Workers:
    """The processes that a launcher started, in which each row of a batch is computed by one.

    Args:
        compute: from rows `(N, ...)` and a timestep, or `None`, to as many rows. It is the same in every process.
        rows_each: the most rows that a process is given at a time. It bounds memory.

    Attributes:
        leads: whether this is the main process.
        processes: their number, with this one.
    """

    def __init__(self, compute: Compute, *, rows_each: int) -> None:
        state = PartialState(cpu=not torch.cuda.is_available())
        self._compute, self._rows_each, self._rank, self._lost = compute, rows_each, state.process_index, False
        self.leads, self.processes = bool(state.is_main_process), int(state.num_processes)

    def __call__(self, rows: Tensor, t: int | None) -> Tensor:
        """`compute(rows, t)`, made by all processes. Only the main process calls it.

        One row is computed here, since there is nothing to share.

        Raises:
            ValueError: the work of another process was refused; the message is its own.
            LostProcess: another process has ended.
        """
        if len(rows) == 1 or self.processes == 1:
            return self._compute(rows, t)
        found = []
        for batch in rows.split(self._rows_each * self.processes):
            self._told((batch.to("cpu", copy=True), t))  # a view would send all that it is a view of
            found += self._parts(batch, t)
        return torch.cat(found)

    @contextmanager
    def joined(self) -> Iterator[bool]:
        """A block for the main process, to which `True` is yielded. The others compute until it ends, and get `False`.

        After an interrupt, or if a process has ended, no word reaches the others. They end when the main one does.
        """
        if not self.leads:
            while (task := self._told(None)) is not None:
                self._parts(*task)
            yield False
            return
        try:
            yield True
        except KeyboardInterrupt:
            raise
        except BaseException:  # a model may raise any kind
            if not self._lost:
                self._told(None)
            raise
        self._told(None)

    def _told(self, task: tuple[Tensor, int | None] | None) -> tuple[Tensor, int | None] | None:
        """What the main process tells all."""
        said = [task]
        with self._noticing():
            broadcast_object_list(said)
        return said[0]

    def _parts(self, rows: Tensor, t: int | None) -> list[Tensor]:
        """The answers for the share of each process. An error of one is raised by the main process."""
        own: BaseException | None = None
        share = rows.tensor_split(self.processes)[self._rank]
        part = share
        try:
            if len(share):
                part = self._compute(share, t)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a model may raise any kind
            own = error
        failed = None if own is None else (status_of(own), sentence_of(own))
        with self._noticing():
            ends = self._gathered((failed, None if self.leads else part.cpu()))
        if not self.leads:
            if own is not None and status_of(own) == SLIP:
                show_traceback(own)
            return []
        if own is not None:
            raise own
        for failure, _ in ends:
            if failure is not None:
                raise failed_elsewhere(*failure)
        return [part, *(other.to(part) for _, other in ends[1:] if other is not None and len(other))]

    def _gathered(self, end: End) -> list[End]:
        """The ends of all processes, in the main one."""
        ends: list[End] = [(None, None)] * self.processes if self.leads else []
        gather_object(end, ends or None, dst=0)
        return ends

    @contextmanager
    def _noticing(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # what torch.distributed raises if a connection breaks
            self._lost = True
            raise LostProcess from error


class Sharing(ABC):
    """A model whose work the processes of a launcher can share.

    Attributes:
        batch_size: the rows that it computes at a time.
    """

    batch_size: int
    _workers: Workers | None = None

    @abstractmethod
    def compute(self, rows: Tensor, t: int | None) -> Tensor:
        """The work on rows `(N, ...)` that is shared; see `Workers`."""

    def computed(self, rows: Tensor, t: int | None) -> Tensor:
        """`compute(rows, t)`, of all processes if they share the work, and else of this one."""
        return (self._workers or self.compute)(rows, t)

    @property
    def at_once(self) -> int:
        """The rows to compute in one call: `batch_size` for each process that shares the work."""
        return self.batch_size * (self._workers.processes if self._workers else 1)

    @contextmanager
    def shared(self) -> Iterator[bool]:
        """Within the block, the processes that a launcher started share the work of this model.

        Enter it in every process. The main one gets `True` and does all else. The others get `False` when it has done:

            with denoiser.shared() as leads:
                if leads:
                    result = explainer.explain(image)

        Results are the same to the rounding of float32, whatever the number of processes. With one, nothing changes.

        Raises:
            LostProcess: another process has ended.
        """
        workers = Workers(self.compute, rows_each=self.batch_size)
        self._workers = workers if workers.leads else None
        try:
            with workers.joined() as leads:
                yield leads
        finally:
            self._workers = None
