"""The layout of examples and lists in help texts."""

from __future__ import annotations


def listed(title: str, *lines: str) -> str:
    """A text that help shows below the options, with its lines unchanged."""
    return "\b\n" + "\n".join((title, *(f"  {line}" for line in lines)))


def examples(*lines: str) -> str:
    """Commands as a user would type them."""
    return listed("Examples:", *lines)
