"""IG2: integrated gradients on an iterative gradient path (Zhuo, Ge 2024, arXiv:2406.10852)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from baselines.base_points import FromDataset
from baselines.path import Gradient
from baselines.path_method import PathMethod
from freemcg.messages.errors import InvalidValue


class IG2(PathMethod):
    """The gradient integrated along a descent towards what the network makes of an image of another class.

    With the representation `h` and a reference `r`, which is decided otherwise than the class explained, the path is
    `x_0 = x`, `x_{j+1} = clip(x_j - step_size * g / rms(g), 0, 1)` with `g = grad |h(x_j) - h(r)|^2`. Its end is the
    base-point. Each step adds `grad f(x_j) (x_j - x_{j+1})`, which is equation 3 of the paper. The map is the mean over
    the references. Its sum is about `f(x) - f(x_k)`.

    Args:
        references: images `(M, C, H, W)` in [0, 1]. Those decided as the class explained are left out.
        n_references: how many of the others are used for an image, in a shuffled order that `seed` decides.
        steps: `k`, the steps of a path; 201 in the authors' program.
        step_size: the root mean square move of a pixel in a step. The default is the authors' for ImageNet: a step of
            256 in the L2 norm, for 224x224 pixels in 0..255.
        representation: the name of the submodule whose output is `h`, as in `model.named_modules()`. The paper takes
            the last hidden layer. `None` takes the logits.
        seed, output, batch_size, progress: as `WhiteBoxMethod`.

    Raises:
        ValueError: `model` has no such submodule, or all references are decided as the class explained.
    """

    cost = "2 * steps * n_references"
    least = 2
    rule = "right"

    @classmethod
    def within(cls, cost: int) -> dict[str, Any]:
        """One reference, and as many steps as can be paid for."""
        return {"steps": cost // 2}

    def __init__(
        self,
        model: nn.Module,
        *,
        references: Tensor,
        n_references: int = 1,
        steps: int = 201,
        step_size: float = 0.0026,
        representation: str | None = None,
        seed: int = 0,
        output: str = "logit",
        batch_size: int = 64,
        progress: bool = False,
    ) -> None:
        super().__init__(model, output=output, batch_size=batch_size, progress=progress)
        for name, value in (("n_references", n_references), ("steps", steps)):
            if value < 1:
                raise InvalidValue(f"{name} must be >= 1, got {value}")
        if not step_size > 0:
            raise InvalidValue(f"step_size must be > 0, got {step_size}")
        if representation is not None and representation not in dict(model.named_modules()):
            raise InvalidValue(f"the model has no submodule {representation!r}; see model.named_modules()")
        self.references = FromDataset(references, seed)
        self.n_references = n_references
        self.steps = steps
        self.step_size = step_size
        self.representation = representation

    def paths(self, images: Tensor, targets: Tensor, gradient: Gradient) -> Iterable[Iterable[Tensor]]:
        """One path for each reference, from its end to the image explained."""
        known = torch.cat([self.references(images[:1], draw) for draw in range(len(self.references.images))])
        decided = self.scores(known).argmax(dim=1)
        others = [known[decided != target] for target in targets]
        for target, each in zip(targets.tolist(), others, strict=True):
            if not len(each):
                raise InvalidValue(f"all references are decided as class {target}; add images of other classes")
        for number in range(self.n_references):
            chosen = torch.stack([each[number % len(each)] for each in others])
            yield list(self._descent(images, self._represent(chosen).detach()))[::-1]

    def _descent(self, images: Tensor, wanted: Tensor) -> Iterator[Tensor]:
        """The images, and the points after them on the path towards the representations `wanted` `(B, ..)`."""
        yield images
        for _ in range(self.steps):
            slope = self._distance_gradient(images, wanted)
            size = slope.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
            images = (images - self.step_size * slope / size.clamp(min=torch.finfo(size.dtype).tiny)).clamp(0, 1)
            yield images

    def _distance_gradient(self, images: Tensor, wanted: Tensor) -> Tensor:
        """The gradient of `|h(x) - wanted|^2` at images `(B, C, H, W)`."""
        leaf = images.detach().requires_grad_(True)
        with torch.enable_grad():
            (slope,) = torch.autograd.grad((self._represent(leaf) - wanted).square().sum(), leaf)
        return slope

    def _represent(self, images: Tensor) -> Tensor:
        """`h` of images, `(B, features)`."""
        if self.representation is None:
            return self._answer(images)
        found: list[Tensor] = []
        layer = self.model.get_submodule(self.representation)
        handle = layer.register_forward_hook(lambda module, inputs, answer: found.append(answer))
        try:
            self._answer(images)
        finally:
            handle.remove()
        return found[-1].flatten(1).to(images)

    def _check(self, images: Tensor) -> None:
        self.references(images[:1], 0)
