"""What an image adds to the score that a method explains, beyond the base-point of that very method.

Completeness asks whether a map sums to that. A method with another base-point or another score would be wronged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Added = Callable[[Tensor, Tensor], Tensor]
"""From images `(N, C, H, W)` and their classes `(N,)` to what they add, `(N,)`."""


def added_by(method: Any) -> Added | None:
    """What images add by the score and the base-point of a method; `None` for one without a base-point.

    The mean is taken over the draws of a random base-point. For a method with gradients it costs no query, for one that
    asks 2 an image.
    """
    from baselines import GEEX, IDGI, IntegratedDecisionGradients, Occlusion  # noqa: PLC0415  (only a comparison
    from baselines.from_base import FromBasePoint  # noqa: PLC0415  needs the baselines)
    from baselines.patch_method import PatchMethod  # noqa: PLC0415

    path = method.path if isinstance(method, IDGI) else method
    if isinstance(path, FromBasePoint | IntegratedDecisionGradients):
        return _by_gradients(method, path)
    if isinstance(method, GEEX | Occlusion | PatchMethod):
        return _by_queries(method)
    return None


def _by_gradients(method: Any, path: Any) -> Added:
    def added(images: Tensor, targets: Tensor) -> Tensor:
        starts = [method.value(path.base(images, draw), targets) for draw in range(getattr(path, "n_base", 1))]
        value: Tensor = method.value(images, targets) - torch.stack(starts).mean(dim=0)
        return value

    return added


def _by_queries(method: Any) -> Added:
    def added(images: Tensor, targets: Tensor) -> Tensor:
        pairs = zip(images, targets.tolist(), strict=True)
        answers = [(method.black_box(torch.stack([x, torch.full_like(x, method.base)])), target) for x, target in pairs]
        first, last = torch.stack([method.objective(answer, target) for answer, target in answers], dim=1)
        value: Tensor = first - last
        return value

    return added
