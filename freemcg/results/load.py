"""A saved result of either kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeAlias

from freemcg.files.tensors import load_tensors
from freemcg.results.attribution import Attribution
from freemcg.results.counterfactual import Counterfactual

Explanation: TypeAlias = Attribution | Counterfactual
"""What a job keeps of an image."""


def load_result(path: str | Path) -> Explanation:
    """Read a saved result of either kind.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: the file is no result, or was damaged.
    """
    return load_with_digests(path)[0]


def load_with_digests(path: str | Path) -> tuple[Explanation, dict[str, str]]:
    """Read a saved result, and the digests of the files beside it. It raises the errors of `load_result`."""
    tensors, header = load_tensors(Path(path), "result")
    kind = Counterfactual if header.get("kind") == Counterfactual.__name__ else Attribution
    return kind._made_of(tensors, header, path), json.loads(header.get("beside", "{}"))
