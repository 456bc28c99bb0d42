"""The scores within what classifiers commonly wrap them in."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from freemcg.refusal import InvalidType


def unwrapped(answer: Any, images: int, axes: int) -> Any:
    """The scores within what classifiers commonly wrap them in; the answer itself where nothing is known of it.

    Raises:
        TypeError: there are several tensors that could be the scores.
    """
    if isinstance(answer, dict) and "logits" in answer:
        return answer["logits"]
    if hasattr(answer, "logits"):
        return answer.logits
    if isinstance(answer, tuple | list) and answer and isinstance(answer[0], Tensor | np.ndarray):
        first = answer[0]
        arrays = [part for part in answer if isinstance(part, Tensor | np.ndarray)]
        able = [str(tuple(part.shape)) for part in arrays if part.ndim == axes and len(part) == images]
        if len(able) > 1:
            raise InvalidType(
                f"the black box answered {len(able)} tensors that could be the scores, of shapes {' and '.join(able)}; "
                "return one of them alone"
            )
        return first if first.ndim == axes and len(first) == images else answer
    return answer


def as_tensor(answer: Any) -> Tensor:
    """An answer as a tensor without a graph.

    Raises:
        TypeError: it is neither a tensor nor an array.
    """
    if isinstance(answer, Tensor):
        return answer.detach()
    if isinstance(answer, np.ndarray):
        return torch.as_tensor(np.array(answer))
    named = type(answer).__name__
    if isinstance(answer, dict):
        named += f" ({', '.join(str(key) for key in answer)})"
    elif isinstance(answer, tuple):
        named += f" ({', '.join(_kind(part) for part in answer)})"
    raise InvalidType(f"the black box answered {named}; it must answer a tensor or an array")


def _kind(part: Any) -> str:
    shape = f" {tuple(part.shape)}" if isinstance(part, Tensor | np.ndarray) else ""
    return type(part).__name__ + shape
