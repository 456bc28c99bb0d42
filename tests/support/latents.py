"""Tiny autoencoders of the classes of diffusers, with weights that make them linear, and a second way to each.

`GroupNorm` and `SiLU` cannot be left out, but four channels `K + d, -K - d, K - d, -K + d` pass through both. Their
mean is 0 and their deviation `K sqrt(1 + (d / K)^2)`. So they come out as `n1, -n1, n2, -n2` with `n1 - n2 = 2 d / K`,
and `silu(n) - silu(-n) = n`. The error is of the order `(d / K)^2`.
"""

from __future__ import annotations

import diffusers
import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer
from unets import tiny_unet

LARGE = 60.0
CHANNELS = 4


def linear_autoencoder(kind: str, gain: float = 0.5, *, halved: bool = False, codes: int = 0, **config) -> nn.Module:
    """An autoencoder whose encoder is `gain x` and whose decoder is `z / gain`, of one channel.

    With `halved`, the encoder takes the mean of 2x2 pixels, and the decoder repeats each latent 2x2 times. A `VQModel`
    has a codebook of `codes` evenly spaced numbers in [-2, 2].
    """
    settings = {"block_out_channels": (CHANNELS, CHANNELS) if halved else (CHANNELS,), **config}
    settings["down_block_types"] = ("DownEncoderBlock2D",) * len(settings["block_out_channels"])
    settings["up_block_types"] = ("UpDecoderBlock2D",) * len(settings["block_out_channels"])
    shared = {"in_channels": 1, "out_channels": 1, "latent_channels": 1, "norm_num_groups": 1, **settings}
    if kind == "VQModel":
        model = diffusers.VQModel(**shared, num_vq_embeddings=codes)
    else:
        model = diffusers.AutoencoderKL(**shared, sample_size=8)
    with torch.no_grad():
        for half, factor in ((model.encoder, gain), (model.decoder, 1 / gain)):
            _make_linear(half, factor)
        if kind == "VQModel":
            model.quantize.embedding.weight.copy_(torch.linspace(-2, 2, codes)[:, None])
        for mixing in (model.quant_conv, model.post_quant_conv):
            mixing.weight.copy_(torch.eye(len(mixing.weight))[:, :, None, None])
            mixing.bias.zero_()
    return model.eval().requires_grad_(False)


def _make_linear(half: nn.Module, factor: float) -> None:
    """Set a half of an autoencoder to `factor` times its input, or to that of the 2x2 means, or repeated."""
    for weight in half.parameters():
        weight.zero_()
    half.conv_in.bias.copy_(LARGE * torch.tensor([1.0, -1, 1, -1]))
    half.conv_in.weight[:, 0, 1, 1] = torch.tensor([1.0, -1, -1, 1])
    half.conv_norm_out.weight.fill_(1)
    half.conv_out.weight[0, :, 1, 1] = factor * LARGE / 2 * torch.tensor([1.0, -1, -1, 1])
    for part in half.modules():
        if type(part).__name__ == "Downsample2D":  # rows and columns are padded at the end, and every second is taken
            part.conv.weight[range(CHANNELS), range(CHANNELS), :2, :2] = 0.25
        if type(part).__name__ == "Upsample2D":  # after nearest neighbours
            part.conv.weight[range(CHANNELS), range(CHANNELS), 1, 1] = 1


def encoded(x: Tensor, gain: float = 0.5, *, halved: bool = False) -> Tensor:
    """What the encoder answers to `x`, computed apart."""
    return gain * (nn.functional.avg_pool2d(x, 2) if halved else x)


def decoded(z: Tensor, gain: float = 0.5, *, halved: bool = False, codes: int = 0) -> Tensor:
    """What the decoder answers to `z`, computed apart."""
    if codes:
        book = torch.linspace(-2, 2, codes)
        z = book[(z[..., None] - book).abs().argmin(dim=-1)]
    return (z.repeat_interleave(2, -2).repeat_interleave(2, -1) if halved else z) / gain


LATENT = ("LDM with a VQModel", "LDM with an AutoencoderKL", "Stable Diffusion", "DiT")
"""Pipelines on latents, as `save_latent_pipeline` makes them."""
CLASSES = 5
"""Those of the DiT. Its null class comes after them."""


def save_latent_pipeline(kind: str, folder, **config) -> diffusers.DiffusionPipeline:
    """Save a tiny pipeline of 8x8 grey images with random weights, and 4x4 latents of two channels. Returns it."""
    torch.manual_seed(0)
    autoencoder = tiny_autoencoder("VQModel" if "VQModel" in kind else "AutoencoderKL", **config)
    scheduler = diffusers.DDIMScheduler()
    if kind == "Stable Diffusion":
        pipeline = text_pipeline(autoencoder, tiny_text_unet())
    elif kind == "DiT":
        pipeline = diffusers.DiTPipeline(tiny_dit(), autoencoder, scheduler, id2label={"0": "cat"})
    else:
        pipeline = diffusers.LDMPipeline(
            autoencoder, tiny_unet(sample_size=4, in_channels=2, out_channels=2), scheduler
        )
    pipeline.save_pretrained(folder)
    return pipeline


def text_pipeline(autoencoder: nn.Module, unet: nn.Module) -> diffusers.StableDiffusionPipeline:
    """A pipeline that takes a text, with a text encoder of letters that answers 8 numbers a token."""
    tokenizer = CLIPTokenizer(vocab=letters(), merges=[], model_max_length=9)
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=9,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    parts = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    scheduler = diffusers.DDIMScheduler(clip_sample=False, steps_offset=1)
    return diffusers.StableDiffusionPipeline(
        autoencoder, CLIPTextModel(config).eval(), tokenizer, unet.eval(), scheduler, **parts
    )


def tiny_text_unet() -> nn.Module:
    """A network of 4x4 latents that takes a text, with random weights."""
    return diffusers.UNet2DConditionModel(
        sample_size=4,
        in_channels=2,
        out_channels=2,
        layers_per_block=1,
        block_out_channels=(4, 8),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=8,
        attention_head_dim=2,
        norm_num_groups=2,
    ).eval()


def letters() -> dict[str, int]:
    """The vocabulary of a tokenizer of letters, within words and at their end."""
    alphabet = [chr(each) for each in range(ord("a"), ord("z") + 1)]
    names = [*alphabet, *(f"{each}</w>" for each in alphabet), "<|startoftext|>", "<|endoftext|>"]
    return {name: index for index, name in enumerate(names)}


def tiny_dit(**config) -> nn.Module:
    """A transformer of 4x4 latents with classes and a learned variance, with random weights."""
    settings = {
        "num_attention_heads": 2,
        "attention_head_dim": 4,
        "in_channels": 2,
        "out_channels": 4,
        "num_layers": 1,
        "sample_size": 4,
        "patch_size": 2,
        "num_embeds_ada_norm": CLASSES,
        "norm_num_groups": 1,
        **config,
    }
    return diffusers.DiTTransformer2DModel(**settings).eval()


def tiny_autoencoder(kind: str, **config) -> nn.Module:
    """An autoencoder of two levels and two latent channels, with random weights."""
    settings = {
        "in_channels": 1,
        "out_channels": 1,
        "block_out_channels": (4, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "latent_channels": 2,
        "norm_num_groups": 2,
        **({"num_vq_embeddings": 32} if kind == "VQModel" else {}),
        **config,
    }
    return getattr(diffusers, kind)(**settings).eval()
