"""The network of a diffusion model, and the one place where it is called."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from freemcg.diffusion.condition import Condition, condition_for
from freemcg.diffusion.prompt import Prompt
from freemcg.messages.errors import InvalidValue

NEEDS = ("class_embed_type", "addition_embed_type", "encoder_hid_dim_type", "time_cond_proj_dim")
"""What a network may need besides the image, and cannot be told here."""


class Network:
    """A network that takes noisy images or latents and a time, and perhaps a class or a text.

    Args:
        module: called as `module(x, time)`, with `class_labels` or `encoder_hidden_states` if there is a condition. A
            transformer with classes (DiT) is called as `module(x, timestep=..., class_labels=...)`. It returns a
            tensor, or an object with `.sample` as `diffusers.UNet2DModel` does. If its output has twice the channels of
            its input (a learned variance), the second half is dropped.
        condition: the class or the text that it is told.

    Attributes:
        channels, image_size: the channels and the size that the network was made for; `None` if it does not say.

    Raises:
        ValueError: the network needs something besides the image that it is not told, or its `sample_size` is no size.
    """

    def __init__(self, module: nn.Module, condition: Condition | Prompt | None = None) -> None:
        for key in NEEDS:
            if read_config(module, key, None):
                raise InvalidValue(
                    f"the network needs more than a class or a text besides the image ({key}); take a diffusion model "
                    "with num_class_embeds, one with a CLIPTextModel, or an unconditional one"
                )
        width = read_config(module, "cross_attention_dim", None)
        if width and not isinstance(condition, Prompt):
            raise InvalidValue(
                "the network needs a text besides the image; load its pipeline whole, with Denoiser.from_pretrained"
            )
        if isinstance(condition, Prompt) and width != condition.told.shape[-1]:
            raise InvalidValue(
                f"the text encoder answers {condition.told.shape[-1]} numbers a token, but the network takes {width}; "
                "take both from the same pipeline"
            )
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
        return self.condition.answer(lambda told: self._checked(self._told(noisy, times, told), x))

    def _told(self, noisy: Tensor, times: Tensor, told: int | Tensor) -> Any:
        if isinstance(told, Tensor):
            text = told.to(noisy.device, noisy.dtype).expand(len(noisy), -1, -1)
            return self.module(noisy, times, encoder_hidden_states=text)
        labels = torch.full((len(noisy),), told, device=self.device)
        if read_config(self.module, "num_embeds_ada_norm", None):
            return self.module(noisy, timestep=times, class_labels=labels)
        return self.module(noisy, times, class_labels=labels)

    def _checked(self, answer: Any, x: Tensor) -> Tensor:
        predicted: Tensor = getattr(answer, "sample", answer)
        if predicted.shape[1] == 2 * x.shape[1]:
            predicted = predicted[:, : x.shape[1]]
        if predicted.shape != x.shape:
            raise InvalidValue(f"the denoiser answered {tuple(predicted.shape)} for noisy images {tuple(x.shape)}")
        return predicted.to(x.device, x.dtype)


def condition_of(
    module: nn.Module,
    condition: int | None,
    guidance_scale: float,
    null_class: int | None,
    text: Prompt | None,
    name: str,
) -> Condition | Prompt | None:
    """What a network is told: the text, or the class as `condition_for` says it.

    A transformer with classes (DiT) has one more than its configuration says, which is its null class.

    Raises:
        ValueError: there is a text and a class, or see `condition_for`.
    """
    classes, beside = read_config(module, "num_class_embeds", None), read_config(module, "num_embeds_ada_norm", None)
    if beside:
        classes, null_class = beside + 1, beside if null_class is None else null_class
    if text is None:
        return condition_for(classes or None, condition, guidance_scale, null_class, name)
    condition_for(None, condition, guidance_scale, null_class, name)
    return text


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
