"""The network inside a black box, if there is one. The compared methods that need gradients differentiate it."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from freemcg.blackbox.box import BlackBox
from freemcg.blackbox.unwrap import unwrapped
from freemcg.messages.errors import InvalidValue
from freemcg.messages.model_call import call_model


class WhiteBox(nn.Module):
    """The differentiable map from a black box's images to the logits of its network. It counts gradients.

    The network is called directly, so the black box counts no query. The network is left as it was found.

    Args:
        black_box: see `has_gradients`.

    Attributes:
        gradients: the number of images whose gradient was taken. A Hessian-vector product counts twice.

    Raises:
        ValueError: the black box can only be queried.
    """

    def __init__(self, black_box: BlackBox) -> None:
        super().__init__()
        if not has_gradients(black_box):
            raise InvalidValue(f"{black_box.identity} can only be queried; give a torch.nn.Module that answers logits")
        network: Any = black_box.predict
        self.black_box = black_box
        self.network = network
        self.training = network.training  # so the network's mode is not changed
        self.gradients = 0

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(N, num_classes)` of images `(N, C, H, W)` in [0, 1], on their device."""
        if torch.is_grad_enabled() and images.requires_grad:
            images = images.view_as(images)
            images.register_hook(self._count)
        answered = call_model(self.network, self.black_box.prepare(images))
        answer = unwrapped(answered, len(images), 2, self.black_box.num_classes)
        logits: Tensor = answer.to(images)
        return logits

    def __deepcopy__(self, memo: dict[int, Any]) -> WhiteBox:
        """A copy of the network behind the same black box, with a count of its own."""
        copied = WhiteBox(self.black_box)
        copied.network = copy.deepcopy(self.network, memo)
        return copied

    def _count(self, slope: Tensor) -> None:
        self.gradients += len(slope)


def has_gradients(black_box: BlackBox) -> bool:
    """Whether a black box holds a `torch.nn.Module` that answers logits, and does not round images to 8 bits."""
    return isinstance(black_box.predict, nn.Module) and black_box.scores == "logits" and not black_box.eight_bit
