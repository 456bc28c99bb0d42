"""Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.whitebox import WhiteBoxMethod
from freemcg.blackbox.local.white_box import WhiteBox
from freemcg.messages.errors import InvalidValue


class GradCAM(WhiteBoxMethod):
    """`relu(sum_k a_k A_k)`: the channels `A_k` of a layer's answer, each weighted by the mean `a_k` of its gradient.

    No value is negative: what speaks against the class is left out (equations 1 and 2). The map is as coarse as the
    layer's answer. It is enlarged bilinearly, and the same in every channel of the image.

    Args:
        layer: the name of a module, as `model.named_modules()` gives it, that answers `(N, channels, h, w)`. `None`
            takes the last such answer with more than one place, in a model that convolves. It is what is pooled at the
            end, such as the last block of a ResNet with its activation.
        model, output, batch_size, progress: as `WhiteBoxMethod`.

    Costs one gradient an image.

    Raises:
        ValueError: there is no such layer, or no convolution.
    """

    cost = "1"

    def __init__(
        self,
        model: nn.Module,
        *,
        layer: str | None = None,
        output: str = "logit",
        batch_size: int = 64,
        progress: bool = False,
    ) -> None:
        super().__init__(model, output=output, batch_size=batch_size, progress=progress)
        self._network: nn.Module = model.network if isinstance(model, WhiteBox) else model  # whose names a user knows
        if layer is not None and layer not in dict(self._network.named_modules()):
            raise InvalidValue(f"the model has no layer {layer!r}; model.named_modules() lists the names")
        self.layer = layer

    @classmethod
    def within(cls, cost: int) -> dict[str, Any]:
        """See `WhiteBoxMethod.within`."""
        return {}

    def _attribute(self, images: Tensor, targets: Tensor) -> Tensor:
        leaf = images.detach().requires_grad_(True)
        named = None if self.layer is None else self._network.get_submodule(self.layer)
        watched = list(self._network.modules()) if named is None else [named]
        with torch.enable_grad(), _answers_of(watched) as answers:
            scalar = self.scalar(leaf, targets)
        maps = [each for each in answers if _is_map(each, len(images))]
        if not maps or (named is None and not any(isinstance(each, nn.Conv2d) for each in watched)):
            found = "found no convolution in the model" if named is None else f"cannot use the layer {self.layer!r}"
            raise InvalidValue(f"GradCAM {found}; name a layer that answers (N, channels, h, w)")
        slopes, _ = torch.autograd.grad(scalar.sum(), [maps[-1], leaf], allow_unused=True)
        if slopes is None:
            watching = "last map" if named is None else f"layer {self.layer!r}"
            raise InvalidValue(f"no answer of the model depends on its {watching}; name another layer")
        weights = slopes.mean(dim=(2, 3), keepdim=True)
        coarse = (weights * maps[-1].detach()).sum(dim=1, keepdim=True).relu().to(images)
        return F.interpolate(coarse, size=images.shape[2:], mode="bilinear").expand_as(images).clone()


def _is_map(answer: Tensor, images: int) -> bool:
    """Whether it has a map for each image, with more than one place, and a gradient."""
    return answer.ndim == 4 and len(answer) == images and answer.shape[2:].numel() > 1 and answer.requires_grad


@contextmanager
def _answers_of(modules: Iterable[nn.Module]) -> Iterator[list[Tensor]]:
    """Within the block, each tensor that one of the modules answers is added to the list.

    The model goes on with a copy, which it may overwrite.
    """
    answers: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, answer: Any) -> Tensor | None:
        if not isinstance(answer, Tensor):
            return None
        answers.append(answer)
        return answer.clone()

    hooks = [each.register_forward_hook(keep) for each in modules]
    try:
        yield answers
    finally:
        for hook in hooks:
            hook.remove()
