"""Keep secrets out of the log of the HTTP client."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any


class HiddenInLogs(logging.Filter):
    """Takes secrets out of the addresses in the log of httpx2, in case a user turns that log on."""

    def __init__(self, hide: Callable[[str], str]) -> None:
        super().__init__()
        self.hide = hide
        logging.getLogger("httpx2").addFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, without its secrets."""
        record.msg, record.args = self.hide(record.getMessage()), ()
        return True


def close_client(client: Any, hidden: HiddenInLogs) -> None:
    """Close the HTTP client, and take the filter off its log."""
    client.close()
    logging.getLogger("httpx2").removeFilter(hidden)
