"""How long requests wait: evenly spaced, as long as a server asks for, and never when all is over."""

from __future__ import annotations

import math
import threading
import time
from email.utils import parsedate_to_datetime

from freemcg.blackbox.remote.side_by_side import Stopped


class Gate:
    """When the next request may leave: evenly spaced, and not before the server said."""

    def __init__(self, spacing: float) -> None:
        self.spacing = spacing
        self.opens = 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def close_for(self, seconds: float) -> None:
        """Let nothing leave for so many seconds from now."""
        with self._lock:
            self.opens = max(self.opens, time.monotonic() + seconds)

    def pass_through(self, stopped: threading.Event) -> None:
        """Wait until the next request may leave.

        Raises:
            Stopped: all is over.
        """
        while True:
            with self._lock:
                now = time.monotonic()
                wait = max(self._next, self.opens) - now
                if wait <= 0:
                    self._next = max(now, self._next) + self.spacing
                    break
            sleep(wait, stopped)
        if stopped.is_set():
            raise Stopped


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds that a `Retry-After` header asks for: a number, or a date (RFC 9110, 10.2.3); `None` where it is neither.

    Args:
        now: seconds since the epoch.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def sleep(seconds: float, stopped: threading.Event) -> None:
    """Wait, unless all is stopped before or meanwhile.

    Raises:
        Stopped: it is.
    """
    if stopped.wait(seconds):
        raise Stopped
