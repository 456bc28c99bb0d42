"""The owner of a file of Python code: this project, a library, or the user."""

from __future__ import annotations

import sysconfig
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_OURS = tuple(str(_PACKAGE.parent / name) for name in ("freemcg/", "baselines/", "manifolds/"))
_LIBRARIES = tuple(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))


def is_ours(filename: str) -> bool:
    """Whether a file is a part of this project."""
    return filename.startswith(_OURS)


def is_the_users(filename: str) -> bool:
    """Whether a file belongs neither to this project nor to an installed library. Code without a file is nobody's."""
    return not filename.startswith((*_OURS, *_LIBRARIES, "<"))
