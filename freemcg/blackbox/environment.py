"""Secrets: they come from the environment, are filled in where they are used, and are taken out of every text."""

from __future__ import annotations

import os
import re
from urllib.parse import quote

from freemcg.refusal import InvalidValue

PREFIX = "FREEMCG_"
VARIABLE = re.compile(r"\$\{(.*?)\}")
SHORTEST_SECRET = 4


class Environment:
    """Fills `${FREEMCG_NAME}` from the environment, and remembers what it filled in, so that it can be hidden again.

    No variable of another name is read: so a description from a stranger cannot have AWS_SECRET_ACCESS_KEY sent to him.
    """

    def __init__(self) -> None:
        self._filled: dict[str, str] = {}

    def fill(self, text: str) -> str:
        """The text with its variables filled in.

        Raises:
            ValueError: a variable is not set, or not one that may be read.
        """
        return VARIABLE.sub(self._value, text)

    def fill_url(self, text: str) -> str:
        """The address with its variables filled in.

        Raises:
            ValueError: as `fill`; or the result is no http:// or https:// address.
        """
        url = self.fill(text)
        if not url.startswith(("http://", "https://")) or not url.isascii() or not url.isprintable() or " " in url:
            raise InvalidValue(f"url is {text!r}, which is no http:// or https:// address once it is filled in")
        return url

    def fill_header(self, name: str, text: str) -> str:
        """What the header `name` holds, with its variables filled in.

        Raises:
            ValueError: as `fill`; or the result is not printable ASCII. The message does not show it.
        """
        value = self.fill(text)
        if not value.isascii() or not value.isprintable():
            raise InvalidValue(f"the header {name} would hold a character that is not printable ASCII")
        return value

    def hide(self, text: str) -> str:
        """The text with `${FREEMCG_NAME}` for every value that was filled in, of 4 characters and more, quoted too."""
        for name, value in sorted(self._filled.items(), key=lambda item: -len(item[1])):
            if len(value) >= SHORTEST_SECRET:
                for form in (value, quote(value), quote(value, safe="")):
                    text = text.replace(form, f"${{{name}}}")
        return text

    def __repr__(self) -> str:
        return f"Environment({', '.join(sorted(self._filled))})"

    def _value(self, match: re.Match[str]) -> str:
        name = match[1]
        if not re.fullmatch(PREFIX + "[A-Z0-9_]+", name):
            raise InvalidValue(f"${{{name}}} is not read; only variables named {PREFIX}... are, in capitals")
        value = os.environ.get(name, "")
        if not value:
            raise InvalidValue(f"the environment variable {name} is not set")
        self._filled[name] = value
        return value
