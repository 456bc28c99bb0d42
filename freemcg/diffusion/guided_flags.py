"""How a network of guided-diffusion was trained, as far as the shapes of its weights do not tell."""

from __future__ import annotations

from dataclasses import dataclass

from freemcg.diffusion.guided_layout import Layout
from freemcg.messages.errors import InvalidValue

SCHEDULES = {"linear": "linear", "cosine": "squaredcos_cap_v2"}
"""The noise schedules by their names in guided-diffusion, with their names in diffusers."""
HEAD_CHANNELS = 64
RELEASED_64 = (192, 384, 576, 768), 3
RELEASED_128 = (256, 256, 512, 768, 1024), 2
"""Channels and residual blocks of the two models of OpenAI whose flags differ from those of all others."""


@dataclass(frozen=True)
class Flags:
    """What shapes do not tell.

    Attributes:
        num_head_channels: the channels of every attention head, or `None` if their number is fixed.
        num_heads: the attention heads of every level, or `None` if their width is fixed.
        new_attention_order: the rows of `qkv` are all queries, all keys, all values. In the old order they are the
            queries, keys and values of the first head, then those of the next.
        noise_schedule: one of `SCHEDULES`.
        diffusion_steps: the length of the schedule.
        image_size: the side of the images in pixels.
    """

    num_head_channels: int | None
    num_heads: int | None
    new_attention_order: bool
    noise_schedule: str
    diffusion_steps: int
    image_size: int

    def head_width(self, channels: int) -> int:
        """The channels of a head in an attention over so many channels."""
        return self.num_head_channels or channels // (self.num_heads or 1)

    def head_widths(self, layout: Layout) -> int | tuple[int, ...] | None:
        """The width of every head, or the width at each level. `None` stands for one head of all channels."""
        if self.num_heads == 1:
            return None
        widths = {self.head_width(channels) for channels in layout.attention_channels}
        return widths.pop() if len(widths) == 1 else tuple(self.head_width(channels) for channels in layout.channels)


def complete_flags(
    layout: Layout,
    source: str,
    *,
    num_head_channels: int | None = None,
    num_heads: int | None = None,
    new_attention_order: bool | None = None,
    noise_schedule: str | None = None,
    diffusion_steps: int = 1000,
    image_size: int | None = None,
) -> Flags:
    """The flags of a network. Those that are `None` are as in the model of this layout that OpenAI released.

    Args:
        source: the name of the checkpoint, for messages.
        num_head_channels: the channels of an attention head.
        num_heads: the attention heads of every level, instead of `num_head_channels`.

    Raises:
        ValueError: a flag is out of range, both kinds of heads are given, or they do not fit the network.
    """
    shape = layout.channels, layout.residual_blocks
    if num_heads is not None and num_head_channels is not None:
        raise InvalidValue(f"give num_heads or num_head_channels, not both; got {num_heads} and {num_head_channels}")
    if num_heads is None and num_head_channels is None:
        num_heads, num_head_channels = (4, None) if shape == RELEASED_128 else (None, HEAD_CHANNELS)
    if new_attention_order is None:
        new_attention_order = shape == RELEASED_64
    if noise_schedule is None:
        noise_schedule = "cosine" if shape == RELEASED_64 else "linear"
    if noise_schedule not in SCHEDULES:
        raise InvalidValue(f"noise_schedule must be one of {', '.join(SCHEDULES)}, got {noise_schedule!r}")
    if image_size is None:
        image_size = layout.released_size
    halvings = 2 ** (len(layout.channels) - 1)
    if image_size < 1 or image_size % halvings:
        raise InvalidValue(f"image_size must be a multiple of {halvings} for {source}, got {image_size}")
    fewest = 21 if noise_schedule == "linear" else 1  # with fewer, a linear beta reaches 1
    if diffusion_steps < fewest:
        raise InvalidValue(f"diffusion_steps must be >= {fewest} ({noise_schedule} schedule), got {diffusion_steps}")
    _refuse_unfit_heads(layout, source, num_heads, num_head_channels)
    return Flags(num_head_channels, num_heads, new_attention_order, noise_schedule, diffusion_steps, image_size)


def _refuse_unfit_heads(layout: Layout, source: str, num_heads: int | None, num_head_channels: int | None) -> None:
    name, given = ("num_head_channels", num_head_channels) if num_heads is None else ("num_heads", num_heads)
    assert given is not None
    if given < 1:
        raise InvalidValue(f"{name} must be >= 1, got {given}")
    for channels in layout.attention_channels:
        if channels % given:
            raise InvalidValue(
                f"{name} {given} does not divide the {channels} channels of an attention in {source}; give num_heads "
                "or num_head_channels as the model was trained"
            )
