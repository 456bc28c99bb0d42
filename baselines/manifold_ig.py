"""Manifold Integrated Gradients (Zaher et al. 2024, arXiv:2405.09800)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from baselines.base_points import BasePoint, as_base_point
from baselines.path import Gradient, remembering
from baselines.path_method import PathAttribution, PathMethod, joined
from baselines.whitebox import Target
from freemcg.messages.errors import InvalidType, InvalidValue
from manifolds import Geodesic, geodesic


class Autoencoder(Protocol):
    """A model that makes images from latents, such as a VAE, in eval mode."""

    def encode(self, images: Tensor, /) -> Tensor:
        """Latents `(N, k)` of images `(N, C, H, W)` in [0, 1]. A VAE returns the posterior mean."""

    def decode(self, latents: Tensor, /) -> Tensor:
        """Images `(N, C, H, W)` in [0, 1] of latents `(N, k)`; it must be differentiable."""


@dataclass(frozen=True)
class ManifoldAttribution(PathAttribution):
    """The result of Manifold IG. Its path ends at the image's reconstruction, not at the image.

    Attributes:
        values, residual: as `PathAttribution`. The values are complete between the two decoded ends.
        distance: `|x - g(E(x))|`, the L2 distance from the image to the end of the path, `(N,)`.
        score_gap: `f(x) - f(g(E(x)))`, `(N,)`.
        energy, straight_energy: the energy of the path and that of the decoded straight line, `(N,)`; see
            `manifolds.Geodesic`.
    """

    distance: Tensor
    score_gap: Tensor
    energy: Tensor
    straight_energy: Tensor


AGGREGATIONS = ("increments", "mean")


class ManifoldIG(PathMethod):
    """The gradient integrated from a base-point to the image, along a geodesic of images that a decoder can make.

    Both ends are encoded and joined by a geodesic of the decoder's metric (`manifolds.geodesic`). The decoded curve is
    the path.

    Args:
        aggregation: `"increments"` is the paper's definition: each gradient times its piece of the path. `"mean"` is
            that of the authors' program: the mean gradient times the difference of the ends. On a straight, evenly
            divided path both are the same. On a curve `"mean"` is not complete.
        vae: the autoencoder, with `encode` and `decode`.
        base: the base-point that is encoded: a brightness, a name, or one of `baselines.base_points`, not random.
        steps: pieces of the path. Each costs a gradient, at its middle.
        sweeps: the most sweeps of the geodesic; 0 decodes the straight line in latent space (EIG, Jha et al. 2020).
        model, output, batch_size, progress: as `WhiteBoxMethod`.

    Each sweep also costs `steps - 1` vector-Jacobian products of the decoder.
    """

    cost = "steps"
    needs_manifold = True

    def __init__(
        self,
        model: nn.Module,
        *,
        vae: Autoencoder,
        base: float | str | BasePoint = "black",
        steps: int = 20,
        sweeps: int = 50,
        aggregation: str = "increments",
        output: str = "logit",
        batch_size: int = 64,
        progress: bool = False,
    ) -> None:
        super().__init__(model, output=output, batch_size=batch_size, progress=progress)
        for name in ("encode", "decode"):
            if not callable(getattr(vae, name, None)):
                raise InvalidType(f"vae must have encode and decode, got {type(vae).__name__} without {name}")
        if getattr(vae, "training", False):
            raise InvalidValue("the vae is in training mode; call vae.eval() first")
        if steps < 1:
            raise InvalidValue(f"steps must be >= 1, got {steps}")
        if sweeps < 0:
            raise InvalidValue(f"sweeps must be >= 0, got {sweeps}")
        if aggregation not in AGGREGATIONS:
            raise InvalidValue(f"aggregation must be one of {', '.join(AGGREGATIONS)}, got {aggregation!r}")
        self.vae = vae
        self.base = as_base_point(base)
        if self.base.random:
            raise InvalidValue(f"base must not be random, got {self.base!r}")
        self.steps = steps
        self.sweeps = sweeps
        self.aggregation = aggregation

    def explain(self, images: Tensor, target: Target = None) -> ManifoldAttribution:
        """Attribute as `attribute` does, and give the residual and the measures of the path too."""
        return joined(self._in_batches(self._explain, images, target))

    def paths(self, images: Tensor, targets: Tensor, gradient: Gradient) -> Iterable[Iterable[Tensor]]:
        """One path: the decoded geodesic."""
        yield self._geodesic(images).images.unbind(dim=1)

    def _explain(self, images: Tensor, targets: Tensor) -> ManifoldAttribution:
        curve = self._geodesic(images)
        gradient = remembering(lambda points: self.gradient(points, targets))
        found = self._along([curve.images.unbind(dim=1)], targets, gradient)
        start, end = curve.images[:, 0], curve.images[:, -1]
        values, residual = found.values, found.residual
        if self.aggregation == "mean":
            values = values * (end - start)
            rise = self.value(end, targets) - self.value(start, targets)
            residual = rise - values.flatten(1).sum(dim=1)
        return ManifoldAttribution(
            values=values,
            residual=residual,
            distance=(images - end).flatten(1).norm(dim=1),
            score_gap=self.value(images, targets) - self.value(end, targets),
            energy=curve.energy,
            straight_energy=curve.straight_energy,
        )

    def _value(self, slope: Tensor, credit: Tensor) -> Tensor:
        return credit if self.aggregation == "increments" else slope / self.steps

    def _geodesic(self, images: Tensor) -> Geodesic:
        with torch.no_grad():
            start, end = (self.vae.encode(each) for each in (self.base(images), images))
        return geodesic(self.vae.decode, start, end, pieces=self.steps, sweeps=self.sweeps, batch_size=self.batch_size)

    def _check(self, images: Tensor) -> None:
        self.base(images[:1])
