"""Tangentially Aligned Integrated Gradients (Simpson et al. 2024, arXiv:2503.08240)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from baselines.base_points import BasePoint, as_base_point
from baselines.path import Gradient, remembering, straight_line
from baselines.path_method import PathAttribution, PathMethod, joined
from baselines.whitebox import Target
from freemcg.messages.errors import InvalidType, InvalidValue
from manifolds import TangentSpace

Start = float | str | BasePoint


@dataclass(frozen=True)
class AlignedAttribution(PathAttribution):
    """The result of Tangentially Aligned IG.

    Attributes:
        values, residual: as `PathAttribution`.
        base_points: the base-points found, of the shape of the images.
        alignments: the best alignment so far, at each start and after each iteration from it,
            `(N, starts * (iterations + 1))`. The last one belongs to `values`. The search optimises the alignment, so
            it measures the search and not the method. It is 0 if the attribution is zero.
    """

    base_points: Tensor
    alignments: Tensor


SEARCH_STEPS = 8


class TangentiallyAlignedIG(PathMethod):
    """Integrated Gradients from the base-point whose attribution lies most in the tangent space.

    The base-point `a` maximises `mu(a) = |P IG(x; a)| / |IG(x; a)|` in [0, 1]^D, by Adam. The best one met is kept, so
    the result is never less aligned than any of the starts. The paper does not say how it searches: optimiser, rate,
    number of iterations and stop are ours.

    Args:
        tangent_spaces: maps images `(N, C, H, W)` to a list of `manifolds.TangentSpace`, one per image, such as
            `lambda images: decoder_tangent_space(vae.decode, vae.encode(images))`.
        starts: the base-points where a search starts, each a brightness, a name or one of `baselines.base_points`.
        steps: pieces of the straight line. Each costs a gradient, at its middle.
        iterations: iterations of Adam from each start.
        learning_rate: the rate of Adam, in pixel values.
        enough: the alignment at which an image's search stops.
        model, output, batch_size, progress: as `WhiteBoxMethod`.

    `cost` is the upper bound: it holds without an early stop. A Hessian-vector product counts as two gradients.
    """

    cost = "steps * (3 * len(starts) * (iterations + 1) + 1)"
    needs_manifold = True
    least = 4 * SEARCH_STEPS

    @classmethod
    def within(cls, cost: int) -> dict[str, Any]:
        """The line has 8 pieces while the base-point is sought; the search gets the rest of the cost."""
        return {"steps": SEARCH_STEPS, "iterations": (cost // SEARCH_STEPS - 1) // 3 - 1}

    def __init__(
        self,
        model: nn.Module,
        *,
        tangent_spaces: Callable[[Tensor], list[TangentSpace]],
        starts: Sequence[Start] = ("black",),
        steps: int = 32,
        iterations: int = 200,
        learning_rate: float = 0.05,
        enough: float = 0.99,
        output: str = "logit",
        batch_size: int = 64,
        progress: bool = False,
    ) -> None:
        super().__init__(model, output=output, batch_size=batch_size, progress=progress)
        if not callable(tangent_spaces):
            raise InvalidType(
                f"tangent_spaces must be callable (images in, tangent spaces out), got {type(tangent_spaces).__name__}"
            )
        if isinstance(starts, str) or not starts:
            raise InvalidValue(f"starts must be a sequence of at least one base-point, got {starts!r}")
        if steps < 1:
            raise InvalidValue(f"steps must be >= 1, got {steps}")
        if iterations < 0:
            raise InvalidValue(f"iterations must be >= 0, got {iterations}")
        if learning_rate <= 0:
            raise InvalidValue(f"learning_rate must be > 0, got {learning_rate}")
        if not 0 < enough <= 1:
            raise InvalidValue(f"enough must be in (0, 1], got {enough}")
        self.tangent_spaces = tangent_spaces
        self.starts = tuple(as_base_point(start) for start in starts)
        self.steps = steps
        self.iterations = iterations
        self.learning_rate = learning_rate
        self.enough = enough

    def explain(self, images: Tensor, target: Target = None) -> AlignedAttribution:
        """Attribute as `attribute` does, and give the residual, the base-points found and each alignment too."""
        return joined(self._in_batches(self._explain, images, target))

    def paths(self, images: Tensor, targets: Tensor, gradient: Gradient) -> Iterable[Iterable[Tensor]]:
        """One path: the straight line from the base-point found."""
        yield straight_line(self._search(images, targets)[0], images, self.steps)

    def _explain(self, images: Tensor, targets: Tensor) -> AlignedAttribution:
        base_points, alignments = self._search(images, targets)
        gradient = remembering(lambda points: self.gradient(points, targets))
        found = self._along([straight_line(base_points, images, self.steps)], targets, gradient)
        return AlignedAttribution(found.values, found.residual, base_points, alignments)

    def _search(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The best base-points, and the best alignment after each iteration."""
        spaces = self._spaces(images)
        best = torch.full_like(images[:, 0, 0, 0], -1)
        kept = images
        trace: list[Tensor] = []
        for start in self.starts:
            leaf = start(images).clone().requires_grad_(True)
            optimizer = torch.optim.Adam([leaf], lr=self.learning_rate, maximize=True)
            for iteration in range(self.iterations + 1):
                alignment, leaf.grad = self._alignment(leaf.detach(), images, targets, spaces)
                better = (alignment > best) & (best < self.enough)
                best = torch.where(better, alignment, best)
                kept = torch.where(better[:, None, None, None], leaf.detach(), kept)
                trace.append(best)
                if iteration == self.iterations or (best >= self.enough).all():
                    break
                optimizer.step()
                leaf.detach().clamp_(0, 1)
        full = len(self.starts) * (self.iterations + 1)
        return kept, torch.stack(trace + [best] * (full - len(trace)), dim=1)

    def _alignment(
        self, base: Tensor, images: Tensor, targets: Tensor, spaces: list[TangentSpace]
    ) -> tuple[Tensor, Tensor]:
        """`mu` `(N,)`, and its gradient with respect to the base-points.

        Let `v = d mu / d IG`, let `G` be the mean gradient along the line, and `H_j` the Hessian at
        `X_j = a + t_j (x - a)`. The gradient is `-v G + mean_j (1 - t_j) H_j [(x - a) v]`, with elementwise products.
        """
        across = images - base
        line = [(step + 0.5) / self.steps for step in range(self.steps)]
        mean = torch.zeros_like(images)
        for fraction in line:
            mean += self.gradient(torch.lerp(base, images, fraction), targets) / self.steps
        values = across * mean
        inside = torch.stack([space.project(each) for space, each in zip(spaces, values, strict=True)])
        size, inner = (each.flatten(1).norm(dim=1)[:, None, None, None] for each in (values, inside))
        usable = inner > 0  # otherwise the alignment is zero and has no gradient
        size, inner = size.where(usable, 1.0), inner.where(usable, 0.0)
        weights = torch.where(usable, inside / inner - inner / size * values / size, 0.0) / size
        rise = -weights * mean
        for fraction in line:
            point = torch.lerp(base, images, fraction)
            rise += (1 - fraction) / self.steps * self._hessian_product(point, targets, across * weights)
        return (inner / size)[:, 0, 0, 0], rise

    def _hessian_product(self, points: Tensor, targets: Tensor, vectors: Tensor) -> Tensor:
        leaf = points.detach().requires_grad_(True)
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(self.scalar(leaf, targets).sum(), leaf, create_graph=True)
            if not slope.requires_grad:  # a linear model
                return torch.zeros_like(points)
            (product,) = torch.autograd.grad(slope, leaf, vectors, allow_unused=True, materialize_grads=True)
        return product

    def _spaces(self, images: Tensor) -> list[TangentSpace]:
        spaces = self.tangent_spaces(images)
        if len(spaces) != len(images):
            raise InvalidValue(f"tangent_spaces answered {len(spaces)} tangent spaces for {len(images)} images")
        for space in spaces:
            if space.basis.shape[1] != images[0].numel():
                raise InvalidValue(
                    f"a tangent space lies in {space.basis.shape[1]} dimensions but the images have {images[0].numel()}"
                )
        return spaces

    def _check(self, images: Tensor) -> None:
        for start in self.starts:
            start(images[:1])
