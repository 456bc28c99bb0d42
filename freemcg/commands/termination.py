"""SIGTERM ends a command as an interrupt does: one line is printed, and finished results are kept."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def terminating() -> Iterator[threading.Event]:
    """Within the block, SIGTERM sets the event that is yielded, and raises `KeyboardInterrupt`.

    Nothing changes if other code handles SIGTERM already, outside the main thread, or in one of several processes. The
    launcher of several processes ends them itself.
    """
    terminated = threading.Event()
    lone = os.environ.get("WORLD_SIZE", "1") == "1" and threading.current_thread() is threading.main_thread()
    if not lone or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield terminated
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        terminated.set()
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield terminated
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
