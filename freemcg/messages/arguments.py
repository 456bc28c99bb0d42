"""Arguments as plain Python values, whichever library made them. So JSON holds them, and what is none is refused."""

from __future__ import annotations

from typing import Any

from freemcg.messages.errors import InvalidType, InvalidValue


def plain(value: Any) -> Any:
    """A value of numpy or torch as Python's own, an array as lists, and anything else as it is."""
    return value.tolist() if hasattr(value, "tolist") else value


def whole(name: str, value: Any, least: int | None = None, most: int | None = None) -> int:
    """A whole number of any kind; `1e3` is one too.

    Raises:
        TypeError: it is no whole number. The message begins with `name`.
        ValueError: it is less than `least` or more than `most`.
    """
    number = plain(value)
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if isinstance(number, bool) or not isinstance(number, int):
        raise InvalidType(f"{name} must be a whole number, got {value!r}")
    if least is not None and number < least:
        raise InvalidValue(f"{name} must be >= {least}, got {number}")
    if most is not None and number > most:
        raise InvalidValue(f"{name} must be <= {most}, got {number}")
    return number


def real(name: str, value: Any, least: float, most: float) -> float:
    """A finite number between `least` and `most`, both included.

    Raises:
        TypeError: it is no number. The message begins with `name`.
        ValueError: it is out of range, or NaN.
    """
    number = plain(value)
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise InvalidType(f"{name} must be a number, got {value!r}")
    if not least <= number <= most:
        raise InvalidValue(f"{name} must be in {least:g}..{most:g}, got {number:g}")
    return float(number)


def truth(name: str, value: Any) -> bool:
    """True or false.

    Raises:
        TypeError: it is neither. The message begins with `name`.
    """
    found = plain(value)
    if not isinstance(found, bool):
        raise InvalidType(f"{name} must be True or False, got {value!r}")
    return found
