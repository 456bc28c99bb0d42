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
        head_channels: the width of every attention head, or `None` for one head over all channels.
        new_attention_order: the rows of `qkv` are all queries, all keys, all values. In the old order they are the
            queries, keys and values of the first head, then those of the next.
        noise_schedule: one of `SCHEDULES`.
        diffusion_steps: the length of the schedule.
        image_size: the side of the images in pixels.
    """

    head_channels: int | None
    new_attention_order: bool
    noise_schedule: str
    diffusion_steps: int
    image_size: int


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
    width = _head_channels(layout, source, num_heads, num_head_channels)
    return Flags(width, new_attention_order, noise_schedule, diffusion_steps, image_size)


def _head_channels(layout: Layout, source: str, num_heads: int | None, num_head_channels: int | None) -> int | None:
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
    if num_heads == 1:
        return None
    widths = {given if num_heads is None else channels // given for channels in layout.attention_channels}
    if len(widths) > 1:
        listed = ", ".join(map(str, sorted(widths)))
        raise InvalidValue(
            f"num_heads {given} makes heads of {listed} channels in {source}, but diffusers.UNet2DModel has one width "
            "for all levels; if the model was trained with one width, give num_head_channels"
        )
    return widths.pop()
