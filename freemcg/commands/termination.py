"""How a command ends.

SIGTERM ends it as an interrupt does: one line is printed, and finished results are kept. A command that ends by itself
leaves the processes that it was started with.
"""

from __future__ import annotations

import os
import signal
import sys
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


def leave_processes() -> None:
    """Leave the group of processes that a launcher started, if this process has joined one.

    Without this, a thread of the group may outlive the interpreter, which then aborts instead of giving its status. Do
    not call it after an interrupt: it would wait for an exchange with the others that was under way.
    """
    distributed = sys.modules.get("torch.distributed")  # without it, there is no group, and importing it takes seconds
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
