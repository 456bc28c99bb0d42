"""The network of a diffusion model, and the one place where it is called."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from freemcg.diffusion.condition import Condition
from freemcg.messages.errors import InvalidValue


class Network:
    """A network that takes noisy images and a time, and perhaps a class.

    Args:
        module: called as `module(x, time)`, or as `module(x, time, class_labels=...)` with a condition. It returns a
            tensor, or an object with `.sample` as `diffusers.UNet2DModel` does. If its output has twice the channels of
            its input (a learned variance), the second half is dropped.
        condition: the class that it is told.

    Attributes:
        channels, image_size: the channels and the size that the network was made for; `None` if it does not say.

    Raises:
        ValueError: the network needs a text or a number besides the image, or its `sample_size` is no size.
    """

    def __init__(self, module: nn.Module, condition: Condition | None = None) -> None:
        if read_config(module, "class_embed_type", None):
            raise InvalidValue(
                "the network needs more than a class besides the image; take a diffusion model with num_class_embeds, "
                "or an unconditional one"
            )
        if read_config(module, "cross_attention_dim", None):
            raise InvalidValue("the network needs a text or another condition; take an unconditional diffusion model")
        self.module, self.condition = module, condition
        self.channels: int | None = read_config(module, "in_channels", None)
        self.image_size = _image_size(read_config(module, "sample_size", None))

    @property
    def device(self) -> torch.device:
        """The device that holds the network."""
        first = next(self.module.parameters(), None)
        return torch.device("cpu") if first is None else first.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype in which the network computes."""
        first = next(self.module.parameters(), None)
        return torch.float32 if first is None else first.dtype

    def __call__(self, x: Tensor, time: float) -> Tensor:
        """The network's answer to `x` `(N, C, H, W)` at one time, with the shape, dtype and device of `x`.

        Raises:
            ValueError: the answer has another shape.
        """
        noisy = x.to(self.device, self.dtype).contiguous(memory_format=torch.channels_last)
        times = torch.full((len(noisy),), time, device=self.device)
        if self.condition is None:
            return self._checked(self.module(noisy, times), x)
        return self.condition.answer(lambda label: self._checked(self._told(noisy, times, label), x))

    def _told(self, noisy: Tensor, times: Tensor, label: int) -> Any:
        labels = torch.full((len(noisy),), label, device=self.device)
        return self.module(noisy, times, class_labels=labels)

    def _checked(self, answer: Any, x: Tensor) -> Tensor:
        predicted: Tensor = getattr(answer, "sample", answer)
        if predicted.shape[1] == 2 * x.shape[1]:
            predicted = predicted[:, : x.shape[1]]
        if predicted.shape != x.shape:
            raise InvalidValue(f"the denoiser answered {tuple(predicted.shape)} for noisy images {tuple(x.shape)}")
        return predicted.to(x.device, x.dtype)


def read_config(model: Any, key: str, default: Any) -> Any:
    """A value of the config of a network or scheduler of diffusers, which is a mapping with attributes."""
    config = getattr(model, "config", None)
    if config is None:
        return default
    return config.get(key, default) if hasattr(config, "get") else getattr(config, key, default)


def _image_size(declared: Any) -> tuple[int, int] | None:
    """Height and width of a network's images, from the `sample_size` of its configuration."""
    if declared is None:
        return None
    sides = declared if isinstance(declared, list | tuple) else [declared, declared]
    if len(sides) != 2 or not all(type(side) is int and side >= 1 for side in sides):
        raise InvalidValue(
            f"sample_size in the network's configuration must be one whole number or two, got {declared!r}"
        )
    return sides[0], sides[1]
