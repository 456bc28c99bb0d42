"""`freemcg convert`: a checkpoint of another program as a diffusion model for --denoiser."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from freemcg.commands.help import examples
from freemcg.messages.errors import InvalidValue
from freemcg.messages.terminal import say

if TYPE_CHECKING:
    from freemcg.diffusion.guided_flags import Flags

EXAMPLES = (
    "freemcg convert guided-diffusion 256x256_diffusion_uncond.pt models/imagenet",
    "freemcg convert guided-diffusion ema_0.9999_200000.pt models/mine --noise-schedule cosine --image-size 64",
)
RECORD = "converted.json"
WRITTEN = {RECORD, "model_index.json", "scheduler", "unet"}

convert = typer.Typer(rich_markup_mode=None, epilog=examples(*EXAMPLES))


@convert.callback(invoke_without_command=True)
def _convert(context: typer.Context) -> None:
    """Convert a checkpoint of another program, for --denoiser.

    It costs no query.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@convert.command("guided-diffusion", epilog=examples(*EXAMPLES))
def _convert_guided_diffusion(
    checkpoint: Annotated[
        Path, typer.Argument(help="File of weights: .pt, or .safetensors with the same names.", show_default=False)
    ],
    out: Annotated[Path, typer.Argument(help="Folder of the diffusion model.", show_default=False)],
    num_head_channels: Annotated[
        int | None, typer.Option(help="Channels of each attention head.  [default: 64, unless --num-heads is given]")
    ] = None,
    num_heads: Annotated[
        int | None,
        typer.Option(
            help="Attention heads of every level, if the model was trained so.  "
            "[default: 4 if the layout is that of the released 128-pixel model]"
        ),
    ] = None,
    new_attention_order: Annotated[
        bool | None,
        typer.Option(
            "--new-attention-order/--old-attention-order",
            help="Whether the model was trained with --use_new_attention_order True.  "
            "[default: old; new if the layout is that of the released 64-pixel model]",
        ),
    ] = None,
    noise_schedule: Annotated[
        str | None,
        typer.Option(help="linear or cosine.  [default: linear; cosine if the layout is that of the 64-pixel model]"),
    ] = None,
    diffusion_steps: Annotated[int, typer.Option(help="Length of the noise schedule.")] = 1000,
    image_size: Annotated[
        int | None,
        typer.Option(help="Side of the images in pixels.  [default: 64 for four levels, 128 for five, 256 for six]"),
    ] = None,
) -> None:
    """Convert a checkpoint of OpenAI's guided-diffusion.

    The layout of the network is read off its weights. They do not tell the options below. Each has the name of the flag
    that the model was trained with. Without an option, the value is that of the model of the same layout that OpenAI
    released: the 64-pixel one has the new attention order and a cosine schedule.

    A wrong option is not noticed: the model then denoises badly.
    """
    from freemcg.diffusion.guided_diffusion import convert
    from freemcg.files.checkpoint import load_checkpoint
    from freemcg.files.digest import digest_of
    from freemcg.files.tensors import safetensors_errors
    from freemcg.files.whole import folder_written_whole
    from freemcg.version import versions

    _refuse_foreign(out)
    pipeline, flags = convert(
        load_checkpoint(checkpoint),
        str(checkpoint),
        num_head_channels=num_head_channels,
        num_heads=num_heads,
        new_attention_order=new_attention_order,
        noise_schedule=noise_schedule,
        diffusion_steps=diffusion_steps,
        image_size=image_size,
    )
    record = {
        "program": "guided-diffusion",
        "checkpoint": checkpoint.name,
        "digest": digest_of(checkpoint),
        "flags": asdict(flags),
        "versions": versions(),
    }
    with folder_written_whole(out) as folder, safetensors_errors():
        pipeline.save_pretrained(folder)
        (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n")
    for line in _describe(pipeline.unet, flags):
        say(line)
    say(f"the diffusion model is in {out}")


def _refuse_foreign(out: Path) -> None:
    """Refuse a file, and a folder with files that no conversion wrote."""
    if out.exists() and not out.is_dir():
        raise InvalidValue(f"{out} is a file; a diffusion model needs a folder")
    found = {path.name for path in out.iterdir()} if out.is_dir() else set()
    foreign = sorted(found - WRITTEN) if RECORD in found else sorted(found)
    if foreign:
        raise InvalidValue(f"{out} holds {foreign[0]}, which no conversion wrote; name a new folder")


def _describe(unet: Any, flags: Flags) -> list[str]:
    """What was read off the weights, and what was assumed beside them."""
    config = unet.config
    kind = "grey" if config.in_channels == 1 else "colour"
    classes = f", {config.num_class_embeds} classes" if config.num_class_embeds else ""
    variance = ", learned variance" if config.out_channels == 2 * config.in_channels else ""
    heads = f"heads of {flags.num_head_channels} channels"
    if flags.num_heads is not None:
        heads = f"{flags.num_heads} heads on every level" if flags.num_heads > 1 else "one head of all channels"
    order = "new" if flags.new_attention_order else "old"
    told = [
        f"read off the weights: {sum(each.numel() for each in unet.parameters()) / 1e6:.1f} million weights, {kind}, "
        f"levels of {', '.join(map(str, config.block_out_channels))} channels{classes}{variance}",
        f"not told by them: {flags.image_size}x{flags.image_size} pixels, {heads}, {order} attention order, "
        f"{flags.noise_schedule} schedule of {flags.diffusion_steps} steps; give options if the model was trained "
        "otherwise",
    ]
    if isinstance(config.attention_head_dim, tuple):
        told.append(
            "its heads differ in width from level to level, so a program that loads it with diffusers must first "
            f"import {type(unet).__module__}"
        )
    return told
