"""Secrets come from the environment, are filled in just before use, and are hidden in every text."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping
from html.entities import codepoint2name
from urllib.parse import unquote, unquote_plus

from freemcg.messages.errors import InvalidValue

PREFIX = "FREEMCG_"
VARIABLE = re.compile(r"\$\{(.*?)\}")
SHORTEST_SECRET = 4
FILLED = "\0"  # stands for a variable while an address is checked
USER = re.compile(r"(?:://|^\0)([^/?#@]*|[^/?#@:\[]*:(?!\d*(?:[/?#]|$))[^@]*)@")
NAMES_A_SECRET = re.compile(
    r"secret|passw|passphrase|credential|signature|"
    r"(?:key|token|auth|authorization|sig|pwd|jwt|cookie|bearer|session|(?:^|[\W_])pass)[\W\d_]*$|^(?:code|pw|sas)$",
    re.IGNORECASE,
)
HOLDS_A_SECRET = re.compile(f"auth|cookie|key|token|{NAMES_A_SECRET.pattern}", re.IGNORECASE)
LITERAL = "***"
CREDENTIALS = re.compile(r"^[\w-]+ +(\S.*)")  # what follows the scheme in "Bearer ..."
PAIR = re.compile(r"[\w-]+=\"?([^\";,\s]+)")


class Environment:
    """Reads the values of `${FREEMCG_NAME}` from the environment. It remembers them, so it can hide them again.

    It also remembers and hides the secrets that are spelled out: the values of headers, and those of fields of a body
    whose name suggests a secret. What the address shows anyway is not hidden.

    It reads no variable of another name. So a stranger's description cannot make it send AWS_SECRET_ACCESS_KEY.
    """

    def __init__(self) -> None:
        self._filled: dict[str, str] = {}
        self._literals: list[str] = []
        self._address = ""
        self._parts: list[tuple[str, str]] = []  # a variable's name, and a secret of an address within its value

    def fill(self, text: str) -> str:
        """The text with its variables filled in.

        Raises:
            ValueError: a variable is not set, or may not be read.
        """
        return VARIABLE.sub(self._value, text)

    def fill_url(self, text: str) -> str:
        """The address with its variables filled in.

        Raises:
            ValueError: as in `fill` and `refuse_secret`; or the result is no http:// or https:// address.
        """
        refuse_secret(text)
        self._address = text
        url = self.fill(text)
        secrets = [secret for _, secret in _secrets(url)]
        self._parts += [(name, each) for each in secrets for name, value in self._filled.items() if each in value]
        if not url.startswith(("http://", "https://")) or not url.isascii() or not url.isprintable() or " " in url:
            raise InvalidValue(f"url is {text!r}, which is no http:// or https:// address once it is filled in")
        return url

    def fill_header(self, name: str, text: str) -> str:
        """The value of the header `name`, with its variables filled in.

        Raises:
            ValueError: as in `fill`; or the result is not printable ASCII. The message does not show it.
        """
        value = self.fill(text)
        if not value.isascii() or not value.isprintable():
            raise InvalidValue(f"the header {name} would hold a character that is not printable ASCII")
        self.remember(text)
        return value

    def remember(self, text: str) -> None:
        """Take a text for a secret, and the credentials within it: of `Bearer ...`, and the values of `name=value`."""
        fixed = VARIABLE.split(text)[::2]
        self._literals += [text] if len(fixed) == 1 else []
        for part in fixed:
            self._literals += CREDENTIALS.findall(part) + PAIR.findall(part) + _password(part)

    def hide(self, text: str) -> str:
        """The text with `${FREEMCG_NAME}` in place of every filled-in value, and `***` in place of every other secret.

        A shorter one than 4 characters is left. It also finds a value in other case, quoted for an address, JSON or
        HTML, and within base64.
        """
        named = [*self._filled.items(), *self._parts, *((name, unquote(each)) for name, each in self._parts)]
        known = [(f"${{{name}}}", value) for name, value in named]
        known += [(LITERAL, value) for value in self._literals if value not in self._address]
        known = [each for each in known if len(each[1]) >= SHORTEST_SECRET]
        known.sort(key=lambda item: -len(item[1]))
        if not known:
            return text
        pattern = "|".join(f"({_forms(value)})" for _, value in known)
        return re.sub(pattern, lambda match: known[(match.lastindex or 1) - 1][0], text)

    def __repr__(self) -> str:
        return f"Environment({', '.join(sorted(self._filled))})"

    def _value(self, match: re.Match[str]) -> str:
        name = match[1]
        if not re.fullmatch(PREFIX + "[A-Z0-9_]+", name):
            raise InvalidValue(f"${{{name}}} is not read; name the variable {PREFIX}..., in capitals")
        value = os.environ.get(name, "")
        if not value:
            raise InvalidValue(f"the environment variable {name} is not set")
        self._filled[name] = value
        return value


def refuse_secret(url: str) -> None:
    """Refuse an address that spells out a secret. Addresses are stored and shown, so a variable must stand for it.

    Raises:
        ValueError: the address holds a password, or a value of a parameter whose name suggests a secret.
    """
    for name, secret in _secrets(VARIABLE.sub(FILLED, url)):
        if FILLED not in secret:
            part = f"the parameter {name!r}" if name else "a user or password"
            raise InvalidValue(
                f"the address holds {part}; write '${{FREEMCG_NAME}}' in place of the secret, "
                "and set that environment variable"
            )


def _secrets(url: str) -> list[tuple[str, str]]:
    """The secrets of an address, as pairs of name and value. The user's has an empty name, a parameter's its own."""
    user = USER.search(url)
    found = [("", user[1].partition(":")[2] or user[1])] if user else []
    for part in re.split("[?&;#]", url)[1:]:
        name, _, value = part.partition("=")
        found.append((unquote_plus(name), value))
    return [(name, value) for name, value in found if value and (not name or NAMES_A_SECRET.search(name))]


def _password(header: str) -> list[str]:
    """The password in a header `Basic ...`, which holds user and password in base64."""
    scheme, _, credentials = header.partition(" ")
    if scheme.lower() != "basic":
        return []
    try:
        return [base64.b64decode(credentials).decode().partition(":")[2]]
    except ValueError:
        return []


def _forms(secret: str) -> str:
    """A pattern that matches the forms in which a server may repeat a secret."""
    forms = [f"(?i:{_escaped(secret, {})})"]
    content = secret.encode()
    for before in range(3):  # base64 turns three bytes into four characters, so a secret begins in one of three ways
        text = base64.b64encode(bytes(before) + content).decode()
        whole = text[(0, 2, 3)[before] : (before + len(content)) * 8 // 6]
        forms.append(_escaped(whole, {"+": "-", "/": "_"}) + r"[\w+/-]?(?:=|%3[Dd])*")
    return "|".join(forms)


def _escaped(text: str, instead: Mapping[str, str]) -> str:
    """A pattern that matches a text, with each character plain or escaped for an address, JSON or HTML."""
    return "".join(f"(?:{'|'.join(_ways(each, instead.get(each)))})" for each in text)


def _ways(character: str, other: str | None) -> list[str]:
    """The forms of a character, longest first. So a short form never matches only a part of a long one."""
    code, units = ord(character), character.encode("utf-16-be").hex()
    ways = ["(?i:" + "".join(f"%(?:25)?{byte:02x}" for byte in character.encode()) + ")"]
    ways.append("(?i:" + "".join(rf"\\+u{units[start : start + 4]}" for start in range(0, len(units), 4)) + ")")
    ways.append(rf"(?i:&\#(?:0*{code}|x0*{code:x});)")
    if code in codepoint2name:
        ways.append(f"&{codepoint2name[code]};")
    if not character.isalnum():
        ways.append(rf"\\+{re.escape(character)}")
    if character == " ":
        ways.append(r"\+")
    return [*ways, re.escape(character), *([] if other is None else [re.escape(other)])]
