"""The network inside a black box, where there is one: for methods that differentiate it, which are compared with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from freemcg.blackbox.box import BlackBox
from freemcg.blackbox.unwrap import unwrapped
from freemcg.messages.errors import InvalidValue


class WhiteBox(nn.Module):
    """From images as the black box takes them to the logits of its network, differentiable, with gradients counted.

    The network is asked past the black box, which counts none of it, and is left as it is found.

    Args:
        black_box: see `has_gradients`.

    Attributes:
        gradients: images of which a gradient was taken; of a Hessian-vector product, twice.

    Raises:
        ValueError: the black box can only be asked.
    """

    def __init__(self, black_box: BlackBox) -> None:
        super().__init__()
        if not has_gradients(black_box):
            raise InvalidValue(
                f"{black_box.identity} can only be asked; a torch.nn.Module that answers logits is wanted"
            )
        network: Any = black_box.predict
        self.black_box = black_box
        self.network = network
        self.training = network.training  # which is not switched
        self.gradients = 0

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(N, num_classes)` of images `(N, C, H, W)` in [0, 1], on their device."""
        if torch.is_grad_enabled() and images.requires_grad:
            images = images.view_as(images)
            images.register_hook(self._count)
        answer = unwrapped(self.network(self.black_box.prepare(images)), len(images), 2)
        logits: Tensor = answer.to(images)
        return logits

    def _count(self, slope: Tensor) -> None:
        self.gradients += len(slope)


def has_gradients(black_box: BlackBox) -> bool:
    """Whether a black box holds a `torch.nn.Module` that answers logits, with nothing before it that is only a step."""
    return isinstance(black_box.predict, nn.Module) and black_box.scores == "logits" and not black_box.eight_bit
