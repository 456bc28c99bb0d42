"""Integrated Decision Gradients (Walker, Jha, Chen, Ewetz 2024, arXiv:2305.20052)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from baselines.base_points import BasePoint, as_base_point
from baselines.path import straight_line
from baselines.whitebox import WhiteBoxMethod
from freemcg.messages.errors import InvalidValue


class IntegratedDecisionGradients(WhiteBoxMethod):
    """Integrated Gradients weighted by how fast the score rises, with samples where it changes fastest.

    `X(t)` is the straight line from the base-point, and `a = (x - base) * int grad f(X(t)) (d/dt) f(X(t)) dt`. A first
    pass reads the score at `steps + 1` even points. A second takes `steps` gradients, at points that divide the score's
    total change into equal shares. They come from the inverse of the cumulated change. A stretch without change gets a
    small share, so none is skipped. Each gradient is weighted by the length of the line that it stands for. The
    authors' program rounds the shares to whole numbers of samples and skips the empty stretches. So its samples gather
    near the base-point.

    The sum over an image is the integral of `((d/dt) f)^2`, not `f(x) - f(base)`. For a linear function the map is
    `(w . (x - base)) w (x - base)`.

    Args:
        base: the base-point: a brightness, a name, or one of `baselines.base_points`, not random.
        steps: pieces of the line, and the number of gradients.
        model, output, batch_size, progress: as `WhiteBoxMethod`.
    """

    cost = "steps"

    def __init__(
        self,
        model: nn.Module,
        *,
        base: float | str | BasePoint = "black",
        steps: int = 50,
        output: str = "logit",
        batch_size: int = 64,
        progress: bool = False,
    ) -> None:
        super().__init__(model, output=output, batch_size=batch_size, progress=progress)
        self.base = as_base_point(base)
        if self.base.random:
            raise InvalidValue(f"base must not be random, got {self.base!r}")
        if steps < 1:
            raise InvalidValue(f"steps must be >= 1, got {steps}")
        self.steps = steps

    def _attribute(self, images: Tensor, targets: Tensor) -> Tensor:
        start = self.base(images)
        values = torch.stack([self.value(point, targets) for point in straight_line(start, images, self.steps)], dim=1)
        edges = sample_edges(values)
        total = torch.zeros_like(images)
        for begin, end in zip(edges[:, :-1].unbind(1), edges[:, 1:].unbind(1), strict=True):
            middle = ((begin + end) / 2)[:, None, None, None]
            credit = (images - start) * self.gradient(torch.lerp(start, images, middle), targets)
            rate = credit.sum(dim=(1, 2, 3), keepdim=True)  # df / dt at the middle
            total = total + credit * rate * (end - begin)[:, None, None, None]
        return total

    def _check(self, images: Tensor) -> None:
        self.base(images[:1])


def sample_edges(values: Tensor) -> Tensor:
    """Edges `(B, N + 1)` that cut [0, 1] into `N` pieces of equal share in the change of `values` at even points.

    `values` is `(B, N + 1)`. A twentieth of the pieces is always spread evenly. If nothing changes, all of them are.
    """
    changes = values.diff(dim=1).abs()
    count = changes.shape[1]
    whole = changes.sum(dim=1, keepdim=True)
    even = torch.full_like(changes, 1 / count)
    share = torch.where(whole > 0, 0.95 * changes / whole + 0.05 / count, even)
    filled = torch.cat([torch.zeros_like(share[:, :1]), share.cumsum(dim=1)], dim=1)
    filled[:, -1] = 1
    wanted = torch.linspace(0, 1, count + 1, dtype=values.dtype, device=values.device).expand_as(filled).contiguous()
    piece = (torch.searchsorted(filled.contiguous(), wanted, right=True) - 1).clamp(0, count - 1)
    low, high = filled.gather(1, piece), filled.gather(1, piece + 1)
    return (piece + (wanted - low) / (high - low)) / count
