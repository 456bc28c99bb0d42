"""The layout of a UNet of guided-diffusion (ADM; Dhariwal, Nichol 2021), read off the shapes of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from freemcg.messages.errors import InvalidValue

Shapes = Mapping[str, tuple[int, ...]]

ADVICE = "take the state dict of an image model of that program, unchanged"
GROUPS = 32  # of every group normalisation in these networks
_KINDS = {
    **dict.fromkeys(("in_layers", "emb_layers", "out_layers", "skip_connection"), "residual block"),
    **dict.fromkeys(("norm", "qkv", "proj_out"), "attention"),
    "conv": "convolution",
}


@dataclass(frozen=True)
class Layout:
    """What the shapes tell. Levels are counted from the finest.

    Attributes:
        in_channels: the channels of an image.
        out_channels: as many, or twice as many if the network learned variances too.
        channels: the channels of each level.
        residual_blocks: how many each level has on the way down. On the way up it has one more.
        attention: whether each level has attention. The middle always has.
        resblock_updown: residual blocks change the resolution; otherwise convolutions do.
        scale_shift: the time scales and shifts normalised features; otherwise it is added to them.
        num_classes: `None` if the network is unconditional.
    """

    in_channels: int
    out_channels: int
    channels: tuple[int, ...]
    residual_blocks: int
    attention: tuple[bool, ...]
    resblock_updown: bool
    scale_shift: bool
    num_classes: int | None

    @property
    def released_size(self) -> int:
        """The side in pixels of the released models that have so many levels: 64 for four, 256 for six."""
        return int(2 ** (len(self.channels) + 2))

    @property
    def attention_channels(self) -> list[int]:
        """The numbers of channels that attention sees, each once."""
        levels = [each for each, has in zip(self.channels, self.attention, strict=True) if has]
        return sorted({*levels, self.channels[-1]})

    def unet_config(self, image_size: int, head_widths: int | tuple[int, ...] | None) -> dict[str, Any]:
        """The arguments of `diffusers.UNet2DModel`, or of `LevelHeadsUNet` if there is a width for each level.

        `None` as a width stands for one head of all channels.
        """
        down, up = (
            ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D")
            if self.resblock_updown
            else ("DownBlock2D", "UpBlock2D")
        )
        kind = "resnet" if self.resblock_updown else "conv"
        return {
            "sample_size": image_size,
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "block_out_channels": self.channels,
            "layers_per_block": self.residual_blocks,
            "down_block_types": tuple("AttnDownBlock2D" if has else down for has in self.attention),
            "up_block_types": tuple("AttnUpBlock2D" if has else up for has in reversed(self.attention)),
            "downsample_type": kind,
            "upsample_type": kind,
            "attention_head_dim": head_widths,
            "norm_num_groups": GROUPS,
            "attn_norm_num_groups": GROUPS,
            "norm_eps": 1e-5,
            "resnet_time_scale_shift": "scale_shift" if self.scale_shift else "default",
            "num_class_embeds": self.num_classes,
        }


def read_layout(shapes: Shapes, source: str) -> Layout:
    """The layout of the network whose weights have these shapes, by name.

    Args:
        source: the name of the checkpoint, for messages.

    Raises:
        ValueError: a weight that tells the layout is missing, or `diffusers.UNet2DModel` has no such layout.
    """

    def size(name: str, axis: int = 0, *, square: bool = False) -> int:
        shape = shapes.get(name, ())
        if len(shape) <= axis or (square and len(set(shape[:2])) > 1):
            what = f"{name} has the shape {shape}" if name in shapes else f"{name} is missing"
            raise InvalidValue(f"{source} is not a UNet of guided-diffusion ({what}); {ADVICE}")
        return shape[axis]

    kinds = _kinds(shapes)
    ups = len({name.split(".")[1] for name in shapes if name.startswith("output_blocks.")})
    upsampling = [i for i in range(ups) if _upsamples(kinds, i)]  # the last block of each level but the finest
    residual_blocks = max(upsampling[0] if upsampling else ups - 1, 1)
    starts = [1 + level * (residual_blocks + 1) for level in range(len(upsampling) + 1)]
    channels = tuple(size(f"input_blocks.{start}.0.out_layers.3.weight", square=True) for start in starts)
    found = Layout(
        in_channels=size("input_blocks.0.0.weight", 1),
        out_channels=size("out.2.weight"),
        channels=channels,
        residual_blocks=residual_blocks,
        attention=tuple(kinds.get(f"input_blocks.{start}.1") == "attention" for start in starts),
        resblock_updown=kinds.get(f"input_blocks.{residual_blocks + 1}.0") == "residual block",
        scale_shift=size("input_blocks.1.0.emb_layers.1.weight") == 2 * channels[0],
        num_classes=size("label_emb.weight") if "label_emb.weight" in shapes else None,
    )
    _refuse_what_diffusers_lacks(found, size("time_embed.0.weight", 1), source)
    return found


def _kinds(shapes: Shapes) -> dict[str, str]:
    """The kind of each part of a block, such as `input_blocks.4.1`."""
    split = (name.split(".") for name in shapes)
    return {".".join(parts[:3]): _KINDS[parts[3]] for parts in split if len(parts) > 3 and parts[3] in _KINDS}


def _upsamples(kinds: Mapping[str, str], block: int) -> bool:
    """Whether an output block ends with an upsampling, which stands behind its residual block and its attention."""
    return any(kinds.get(f"output_blocks.{block}.{part}") in ("residual block", "convolution") for part in (1, 2))


def _refuse_what_diffusers_lacks(found: Layout, time_channels: int, source: str) -> None:
    if found.in_channels not in (1, 3):
        raise InvalidValue(
            f"the network of {source} takes {found.in_channels} channels (input_blocks.0.0.weight); take one that "
            "makes grey (1) or colour (3) images out of noise alone"
        )
    if found.out_channels not in (found.in_channels, 2 * found.in_channels):
        raise InvalidValue(
            f"the network of {source} answers {found.out_channels} channels (out.2.weight) for "
            f"{found.in_channels}; {ADVICE}"
        )
    if time_channels != found.channels[0]:
        raise InvalidValue(
            f"the first level of {source} has {found.channels[0]} channels and its time embedding {time_channels} "
            "(time_embed.0.weight), which diffusers.UNet2DModel cannot represent; take a model whose first multiplier "
            "is 1"
        )
    for level, channels in enumerate(found.channels):
        if channels % GROUPS:
            name = f"input_blocks.{1 + level * (found.residual_blocks + 1)}.0.out_layers.3.weight"
            raise InvalidValue(
                f"level {level} of {source} has {channels} channels ({name}), which is no multiple of the {GROUPS} "
                f"groups of its normalisation; {ADVICE}"
            )
