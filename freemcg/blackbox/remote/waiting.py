"""How long a request waits: for its turn, or as the server asks. It stops waiting when the work is stopped."""

from __future__ import annotations

import math
import threading
import time
from email.utils import parsedate_to_datetime

from freemcg.blackbox.remote.side_by_side import Stopped


class Gate:
    """Decides when the next request may leave: requests are evenly spaced, and none leaves before the server allows."""

    def __init__(self, spacing: float) -> None:
        self.spacing = spacing
        self.opens = 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def close_for(self, seconds: float) -> None:
        """Let no request leave for so many seconds from now."""
        with self._lock:
            self.opens = max(self.opens, time.monotonic() + seconds)

    def pass_through(self, stopped: threading.Event) -> None:
        """Wait until the next request may leave.

        Raises:
            Stopped: the work was stopped.
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
    """The seconds that a `Retry-After` header asks for.

    The header holds a number or a date (RFC 9110, 10.2.3). `None` is returned for anything else.

    Args:
        value: the header, if there is one.
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
    """Wait, unless the work is stopped first.

    Raises:
        Stopped: the work was stopped.
    """
    if stopped.wait(seconds):
        raise Stopped
