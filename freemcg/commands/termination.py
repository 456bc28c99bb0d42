"""SIGTERM ends a command as an interrupt does: with a line, and with all that is finished kept."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def terminating() -> Iterator[threading.Event]:
    """Within the block, SIGTERM sets the event that is yielded, and interrupts.

    Left as it is where somebody else handles it, or where this is one of several processes: their launcher ends them.
    """
    came = threading.Event()
    lone = os.environ.get("WORLD_SIZE", "1") == "1" and threading.current_thread() is threading.main_thread()
    if not lone or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield came
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        came.set()
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield came
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
