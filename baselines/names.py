"""The refusal of an unknown name, which offers the nearest known one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from freemcg.messages.errors import InvalidValue


def unknown(kind: str, name: object, known: Iterable[str]) -> InvalidValue:
    """The error to raise, such as `there is no method 'guidedig'; did you mean 'guided_ig'?`."""
    known = list(known)
    near = difflib.get_close_matches(str(name), known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
    return InvalidValue(f"there is no {kind} {name!r}; {hint}")
