"""Important Direction Gradient Integration (Yang, Wang, Bilgic 2023, arXiv:2303.14242)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from baselines.integrated_gradients import IntegratedGradients
from baselines.path import Gradient
from baselines.path_method import PathMethod, Scalar
from freemcg.messages.errors import InvalidType


class IDGI(PathMethod):
    """Each rise of the score along a path method's path, divided among the pixels by squared gradients.

    With `g_j = grad f(X_j)` a piece of the path gives `(f(X_{j+1}) - f(X_j)) g_j^2 / |g_j|^2`. The sum is
    `f(X_N) - f(X_0)` exactly, for any path and any number of steps. Within a piece all pixels have the same sign;
    for a linear function this is not Integrated Gradients. A piece whose gradient is zero adds nothing, and its rise
    is in the residual.

    Args:
        path: a callable that makes the path method from the model, `output` and `batch_size`: a class, or
            `functools.partial(GuidedIG, steps=50)`.
        model, output, batch_size, progress: as `WhiteBoxMethod`.

    Each point of the path costs a forward pass, besides the gradients.
    """

    cost = "path.steps * path.n_base"
    rule = "left"

    @classmethod
    def within(cls, cost: int) -> dict[str, Any]:
        """See `WhiteBoxMethod.within`."""
        return {"path": partial(IntegratedGradients, steps=cost)}

    def __init__(
        self,
        model: nn.Module,
        *,
        path: Callable[..., PathMethod] = IntegratedGradients,
        output: str = "logit",
        batch_size: int = 64,
        progress: bool = False,
    ) -> None:
        super().__init__(model, output=output, batch_size=batch_size, progress=progress)
        self.path = path(model, output=output, batch_size=batch_size)
        if not isinstance(self.path, PathMethod):
            raise InvalidType(f"path must make a path method, got {type(self.path).__name__}")
        self.sums_over_paths = self.path.sums_over_paths

    def paths(self, images: Tensor, targets: Tensor, gradient: Gradient) -> Iterable[Iterable[Tensor]]:
        """The paths of the path method."""
        return self.path.paths(images, targets, gradient)

    def _check(self, images: Tensor) -> None:
        self.path._check(images)

    def _credit(self, slope: Tensor, before: Tensor, after: Tensor, value: Scalar) -> Tensor:
        rise = value(after) - value(before)
        direction = slope / slope.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=torch.finfo(slope.dtype).tiny)
        squared = direction**2  # rescaled first: the squared gradient of a saturated probability would underflow
        total = squared.sum(dim=(1, 2, 3), keepdim=True)
        return torch.where(total > 0, rise[:, None, None, None] * squared / total, 0.0)
