"""Run work on several threads, and yield its results one by one. A caller that stops early does not wait for them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from typing import TypeVar

Piece = TypeVar("Piece")
Found = TypeVar("Found")


class Stopped(Exception):
    """Work raises this when it sees that no more results are wanted."""


def side_by_side(
    work: Callable[[Piece], Iterator[Found]],
    pieces: Iterable[Piece],
    *,
    threads: int,
    stopped: threading.Event,
    give_up: Callable[[], None],
) -> Iterator[Found]:
    """Yield the results of `work` for every piece, as they come.

    Results under way and results that the caller has not taken yet are together at most `threads`. So a killed process
    loses no more than that.

    If `work` raises, no further piece is begun. Results under way are awaited and yielded, and then the first error is
    raised. An interrupt does not wait: results that are ready are yielded, and those under way are given up.

    Args:
        work: takes a piece and yields its results. It runs on one of the threads.
        pieces: what the threads share among them.
        threads: the most threads.
        stopped: it is set when no more results are wanted. Work may look at it and raise `Stopped`.
        give_up: called if the caller stops before the work ends, since a thread cannot be ended from outside.
    """
    left, done = deque(pieces), SimpleQueue[tuple[Found] | BaseException | None]()
    at_work = min(threads, len(left))
    room = threading.Semaphore(at_work)

    def run() -> None:
        try:
            while (piece := _taken(left, stopped)) is not None:
                results = work(piece)
                while (result := _next(results, room, stopped)) is not None:
                    done.put(result)
        except Stopped:
            pass
        except BaseException as error:
            stopped.set()
            done.put(error)
        done.put(None)

    for number in range(at_work):
        threading.Thread(target=run, name=f"freemcg-{number}", daemon=True).start()
    failure: BaseException | None = None
    try:
        while at_work:
            result = done.get()
            if result is None:
                at_work -= 1
            elif isinstance(result, BaseException):
                failure = failure or result
                room.release(at_work)
            else:
                yield result[0]
                room.release()
    except KeyboardInterrupt:
        while not done.empty():
            if isinstance(result := done.get(), tuple):
                yield result[0]
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


def _next(results: Iterator[Found], room: threading.Semaphore, stopped: threading.Event) -> tuple[Found] | None:
    """The next result, once there is room for it; `None` at the end, or if no more are wanted."""
    room.acquire()
    if not stopped.is_set():
        for result in results:
            return (result,)
    room.release()
    return None
