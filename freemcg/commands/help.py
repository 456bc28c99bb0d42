"""How help shows examples and lists."""

from __future__ import annotations


def listed(title: str, *lines: str) -> str:
    """What help shows below the options, line by line as it stands."""
    return "\b\n" + "\n".join((title, *(f"  {line}" for line in lines)))


def examples(*lines: str) -> str:
    """Commands as a user would type them."""
    return listed("Examples:", *lines)
