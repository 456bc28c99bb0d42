"""Expected Gradients (Erion et al. 2021, arXiv:1906.10670), also known as GradientSHAP (Lundberg, Lee 2017)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from baselines.base_points import FromDataset
from baselines.whitebox import WhiteBoxMethod
from freemcg.diffusion.noise import generator_for
from freemcg.messages.errors import InvalidValue


class ExpectedGradients(WhiteBoxMethod):
    """`E[(x - x') grad f(x' + t (x - x'))]` over images `x'` of a data set and `t` uniform in [0, 1].

    Args:
        references: the images `x'`, `(M, C, H, W)` in [0, 1]. `M` samples take each once; further samples start over.
        samples: the number of pairs `(x', t)`. [0, 1] is cut into as many equal parts, and sample `k` takes its `t`
            from the `k`-th. (This is ours: the mean is the same, the variance smaller.)
        seed: the seed of both draws, which are the same for every image.
        model, output, batch_size, progress: as `WhiteBoxMethod`.

    In expectation, the sum over an image is `f(x)` minus the mean of `f(x')`.
    """

    cost = "samples"

    @classmethod
    def within(cls, cost: int) -> dict[str, Any]:
        """See `WhiteBoxMethod.within`."""
        return {"samples": cost}

    def __init__(
        self,
        model: nn.Module,
        *,
        references: Tensor,
        samples: int = 100,
        seed: int = 0,
        output: str = "logit",
        batch_size: int = 64,
        progress: bool = False,
    ) -> None:
        super().__init__(model, output=output, batch_size=batch_size, progress=progress)
        if samples < 1:
            raise InvalidValue(f"samples must be >= 1, got {samples}")
        self.references = FromDataset(references, seed)
        self.samples = samples
        self.seed = seed

    def _attribute(self, images: Tensor, targets: Tensor) -> Tensor:
        total = torch.zeros_like(images)
        for sample in range(self.samples):
            start = self.references(images, sample)
            within = torch.rand((), generator=generator_for(self.seed, "expected gradients", sample)).item()
            point = torch.lerp(start, images, (sample + within) / self.samples)
            total = total + (images - start) * self.gradient(point, targets)
        return total / self.samples

    def _check(self, images: Tensor) -> None:
        self.references(images[:1], 0)
