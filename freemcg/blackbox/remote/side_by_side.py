"""Work on several threads, whose finds are taken one by one; whoever stops taking them waits for nobody."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from typing import TypeVar

Piece = TypeVar("Piece")
Find = TypeVar("Find")


class Stopped(Exception):
    """Raised by work that sees that no more is wanted."""


def side_by_side(
    work: Callable[[Piece], Iterator[Find]],
    pieces: Iterable[Piece],
    *,
    threads: int,
    stopped: threading.Event,
    give_up: Callable[[], None],
) -> Iterator[Find]:
    """Yield what `work` finds at every piece, as it is found.

    A find that was not taken yet counts as one under way: of both together there are never more than `threads`. So
    what a killed process had found and not kept is bounded.

    Where work raises, no more is begun; what is under way is waited for and yielded, and the first error is raised. An
    interrupt does not wait: the finds that are here are yielded, and those under way are given up.

    Args:
        work: from a piece to its finds; runs on one of the threads.
        stopped: is set where no more finds are wanted; work may look at it and raise `Stopped`.
        give_up: called where the taking ends before the work does; a thread cannot be ended from outside.
    """
    left, found = deque(pieces), SimpleQueue[tuple[Find] | BaseException | None]()
    at_work = min(threads, len(left))
    room = threading.Semaphore(at_work)

    def run() -> None:
        try:
            while (piece := _taken(left, stopped)) is not None:
                finds = work(piece)
                while (find := _next(finds, room, stopped)) is not None:
                    found.put(find)
        except Stopped:
            pass
        except BaseException as error:
            stopped.set()
            found.put(error)
        found.put(None)

    for number in range(at_work):
        threading.Thread(target=run, name=f"freemcg-{number}", daemon=True).start()
    failure: BaseException | None = None
    try:
        while at_work:
            find = found.get()
            if find is None:
                at_work -= 1
            elif isinstance(find, BaseException):
                failure = failure or find
                room.release(at_work)
            else:
                yield find[0]
                room.release()
    except KeyboardInterrupt:
        while not found.empty():
            if isinstance(find := found.get(), tuple):
                yield find[0]
        raise
    finally:
        stopped.set()
        if at_work:
            room.release(at_work)
            give_up()
    if failure is not None:
        raise failure


def _taken(left: deque[Piece], stopped: threading.Event) -> Piece | None:
    try:
        return None if stopped.is_set() else left.popleft()
    except IndexError:
        return None


def _next(finds: Iterator[Find], room: threading.Semaphore, stopped: threading.Event) -> tuple[Find] | None:
    """The next find, once there is room for it; nothing at the end, or where no more are wanted."""
    room.acquire()
    if not stopped.is_set():
        for find in finds:
            return (find,)
    room.release()
    return None
