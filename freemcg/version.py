"""Versions of this package and of those that its numbers depend on."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import version

__version__ = version("freemcg")


def versions() -> dict[str, str]:
    """What a result records of the software that made it."""
    return dict(_versions())


@cache
def _versions() -> dict[str, str]:
    names = ("freemcg", "torch", "diffusers", "accelerate", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
