from __future__ import annotations

import signal
import threading
import time

import pytest

from freemcg.blackbox.remote.side_by_side import Stopped, side_by_side


class Work:
    """Finds each number below a piece. It counts those that are under way, or found and not yet taken."""

    def __init__(self, seconds=0.0):
        self.seconds, self.stopped, self.lock = seconds, threading.Event(), threading.Lock()
        self.open = self.most = self.given_up = 0

    def __call__(self, piece):
        for number in range(piece):
            with self.lock:
                self.open += 1
                self.most = max(self.most, self.open)
            time.sleep(self.seconds)
            yield piece, number

    def run(self, pieces, threads, work=None):
        options = {"threads": threads, "stopped": self.stopped, "give_up": self.give_up}
        for find in side_by_side(work or self, pieces, **options):
            yield find
            with self.lock:
                self.open -= 1

    def give_up(self):
        self.given_up += 1


def test_all_is_found_and_no_more_is_open_than_there_are_threads():
    work, found = Work(), []
    for find in work.run([3, 1, 4, 1, 5, 9, 2, 6], 3):
        time.sleep(0.002)  # taking is slower than the work
        found.append(find)
    assert sorted(found) == sorted((piece, number) for piece in (3, 1, 4, 1, 5, 9, 2, 6) for number in range(piece))
    assert work.most == 3
    assert work.given_up == 0
    assert list(Work().run([], 3)) == []


def test_an_error_waits_for_what_is_under_way_and_begins_no_more():
    work, begun = Work(), []

    def failing(piece):
        begun.append(piece)
        if piece == 0:
            time.sleep(0.1)
            raise ValueError("the first error")
        time.sleep(0.3)
        yield piece

    found = []
    with pytest.raises(ValueError, match="the first error"):
        found.extend(work.run([0, 1, 2, 3, 4], 3, failing))
    assert begun == [0, 1, 2]
    assert sorted(found) == [1, 2]
    assert work.given_up == 0


def test_an_index_error_of_the_work_is_raised_too():
    def failing(piece):
        yield [][piece]

    with pytest.raises(IndexError):
        list(Work().run([0], 1, failing))


def test_whoever_leaves_early_waits_for_nobody():
    work = Work()
    hung = threading.Event()

    def hanging(piece):
        if piece:
            hung.wait(30)
            raise Stopped
        yield piece

    began = time.monotonic()
    finds = work.run([0, 1, 1], 3, hanging)
    assert next(finds) == 0
    finds.close()
    assert time.monotonic() - began < 5
    assert work.stopped.is_set()
    assert work.given_up == 1
    hung.set()


def test_an_interrupt_yields_what_is_here_and_waits_for_no_more():
    work, hung = Work(), threading.Event()

    def hanging(piece):
        if piece:
            hung.wait(30)
        yield piece
        threading.Timer(0.3, signal.pthread_kill, [threading.main_thread().ident, signal.SIGINT]).start()

    began, found = time.monotonic(), []
    with pytest.raises(KeyboardInterrupt):
        found.extend(work.run([0, 1, 1], 3, hanging))
    assert time.monotonic() - began < 5
    assert found == [0]
    assert work.given_up == 1
    hung.set()
