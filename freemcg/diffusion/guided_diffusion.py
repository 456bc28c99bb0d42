"""A checkpoint of OpenAI's guided-diffusion (ADM; Dhariwal, Nichol 2021) as a pipeline of `diffusers`.

The network is `diffusers.UNet2DModel` under other names. Only the rows of queries, keys and values are reordered. If
the number of attention heads is fixed, their width differs from level to level. That network is `LevelHeadsUNet`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from freemcg.diffusion.guided_flags import SCHEDULES, Flags, complete_flags
from freemcg.diffusion.guided_layout import ADVICE, Layout, Shapes, read_layout
from freemcg.messages.errors import InvalidValue

_LEAF = {"": ""}
_RESIDUAL = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_ATTENTION = {"norm": "group_norm", "qkv": "to_q", "proj_out": "to_out.0"}  # keys and values: see `_parts`
_ENDS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb": "class_embedding",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}


def convert(state: Mapping[str, Tensor], source: str, **flags: Any) -> tuple[Any, Flags]:
    """A state dict as a `DDPMPipeline`, and the flags that were used.

    Everything that shapes tell is read off them. The weights are those of `state`, also their dtype and device; where
    nothing is reordered, the memory is shared.

    Args:
        source: the name of the checkpoint, for messages.
        flags: how the network was trained, as `complete_flags` takes it.

    Raises:
        ValueError: a tensor is missing, unknown or of another shape; a flag does not fit; or `diffusers.UNet2DModel`
            cannot represent the network.
    """
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel  # noqa: PLC0415  (takes seconds to import)

    from freemcg.diffusion.level_heads import LevelHeadsUNet  # noqa: PLC0415

    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    layout = read_layout(shapes, source)
    used = complete_flags(layout, source, **flags)
    widths = used.head_widths(layout)
    with torch.device("meta"):
        network_class = LevelHeadsUNet if isinstance(widths, tuple) else UNet2DModel
        unet = network_class(**layout.unet_config(used.image_size, widths))
    network = unet.state_dict()
    names = dict(_names(layout, network))
    _refuse_unfit(shapes, {name: _shape(name, network[ours]) for name, ours in names.items()}, source)
    weights: dict[str, Tensor] = {}
    for name, ours in names.items():
        weights |= _parts(name, ours, state[name], used)
    unet.load_state_dict(weights, assign=True)
    scale = 1000 / used.diffusion_steps
    scheduler = DDPMScheduler(
        num_train_timesteps=used.diffusion_steps,
        beta_schedule=SCHEDULES[used.noise_schedule],
        beta_start=scale * 0.0001,
        beta_end=scale * 0.02,
        variance_type="fixed_small" if layout.out_channels == layout.in_channels else "learned_range",
    )
    return DDPMPipeline(unet.eval().requires_grad_(False), scheduler), used


def _names(layout: Layout, network: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    """The name of each tensor in the checkpoint, and its name in the network of diffusers."""
    for theirs, ours, table in _blocks(layout):
        for their_part, our_part in table.items():
            for kind in ("weight", "bias"):
                name = ".".join(each for each in (ours, our_part, kind) if each)
                if name in network:
                    yield ".".join(each for each in (theirs, their_part, kind) if each), name


def _blocks(layout: Layout) -> Iterator[tuple[str, str, dict[str, str]]]:
    """The blocks of the checkpoint, the same blocks in the network of diffusers, and the names of their parts."""
    levels, blocks = len(layout.channels), layout.residual_blocks
    yield "", "", _ENDS
    for level, attention in enumerate(layout.attention):
        for i in range(blocks):
            theirs, ours = f"input_blocks.{1 + level * (blocks + 1) + i}", f"down_blocks.{level}"
            yield f"{theirs}.0", f"{ours}.resnets.{i}", _RESIDUAL
            if attention:
                yield f"{theirs}.1", f"{ours}.attentions.{i}", _ATTENTION
        if level < levels - 1:
            yield _resampling(layout, f"input_blocks.{(level + 1) * (blocks + 1)}.0", f"{ours}.downsamplers.0", "op")
    yield "middle_block.0", "mid_block.resnets.0", _RESIDUAL
    yield "middle_block.1", "mid_block.attentions.0", _ATTENTION
    yield "middle_block.2", "mid_block.resnets.1", _RESIDUAL
    for up, attention in enumerate(reversed(layout.attention)):
        for i in range(blocks + 1):
            theirs, ours = f"output_blocks.{up * (blocks + 1) + i}", f"up_blocks.{up}"
            yield f"{theirs}.0", f"{ours}.resnets.{i}", _RESIDUAL
            if attention:
                yield f"{theirs}.1", f"{ours}.attentions.{i}", _ATTENTION
        if up < levels - 1:
            yield _resampling(layout, f"{theirs}.{1 + attention}", f"{ours}.upsamplers.0", "conv")


def _resampling(layout: Layout, theirs: str, ours: str, convolution: str) -> tuple[str, str, dict[str, str]]:
    if layout.resblock_updown:
        return theirs, ours, _RESIDUAL
    return f"{theirs}.{convolution}", f"{ours}.conv", _LEAF


def _shape(name: str, ours: Tensor) -> tuple[int, ...]:
    """The shape that a tensor of the checkpoint must have. Linear maps of attention are 1-D convolutions there."""
    rows, *others = ours.shape
    part, kind = name.split(".")[-2:]
    convolution = [1] if part in ("qkv", "proj_out") and kind == "weight" else []
    return (3 * rows if part == "qkv" else rows, *others, *convolution)


def _refuse_unfit(shapes: Shapes, expected: Shapes, source: str) -> None:
    """Refuse a checkpoint that lacks a tensor, has one too many, or one of another shape."""
    kinds = {
        "missing": [name for name in expected if name not in shapes],
        "unknown": [name for name in shapes if name not in expected],
        "of another shape": [
            f"{name} {shapes[name]} for {shape}" for name, shape in expected.items() if shapes.get(name, shape) != shape
        ],
    }
    unfit = "; ".join(
        f"{kind}: {', '.join(names[:3])}" + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        for kind, names in kinds.items()
        if names
    )
    if unfit:
        raise InvalidValue(f"{source} is not a UNet of guided-diffusion ({unfit}); {ADVICE}")


def _parts(name: str, ours: str, tensor: Tensor, flags: Flags) -> dict[str, Tensor]:
    """A tensor of the checkpoint as those of the network. `qkv` holds three, head by head in the old order."""
    part, kind = name.split(".")[-2:]
    if part in ("qkv", "proj_out") and kind == "weight":
        tensor = tensor.squeeze(-1)
    if part != "qkv":
        return {ours: tensor}
    channels = len(tensor) // 3
    width = flags.head_width(channels)
    by_head = "three heads width" if flags.new_attention_order else "heads three width"
    sizes = {"heads": channels // width, "width": width}
    rows = rearrange(tensor, f"({by_head}) ... -> three (heads width) ...", three=3, **sizes)
    return {ours.replace(".to_q.", f".to_{letter}."): each.clone() for letter, each in zip("qkv", rows, strict=True)}
