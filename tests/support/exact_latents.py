"""Saved latent pipelines whose networks, of the classes of diffusers, are exact for Gaussian latents at one timestep.

For latents `N(m, v I)` the noise in `x_t` is `k (x_t - sqrt(abar) m)`, `k = sqrt(1 - abar) / (abar v + 1 - abar)`. At
one timestep that is linear in `x_t`. So the weights of a network can be set to it, as `latents` makes an autoencoder
linear.
"""

from __future__ import annotations

import diffusers
import torch
from latents import CHANNELS, LARGE, linear_autoencoder, text_pipeline
from torch import Tensor, nn

SIDE = 4
SIGNS, WAY = torch.tensor([1.0, -1, 1, -1]), torch.tensor([1.0, -1, -1, 1])
ONE_LEVEL = {
    "sample_size": SIDE,
    "in_channels": 1,
    "out_channels": 1,
    "layers_per_block": 1,
    "block_out_channels": (CHANNELS,),
    "norm_num_groups": 1,
}


def save_exact_pipeline(kind: str, folder, t: int, mean: float, variance: float) -> Tensor:
    """Save a pipeline that is exact at timestep `t`. Its latents are images in [-1, 1]. Returns their mean."""
    torch.manual_seed(0)
    scheduler = diffusers.DDIMScheduler(clip_sample=False, steps_offset=1)
    abar = scheduler.alphas_cumprod[t].item()
    gain = (1 - abar) ** 0.5 / (abar * variance + 1 - abar)
    autoencoder = linear_autoencoder(
        "VQModel" if "VQModel" in kind else "AutoencoderKL", codes=20_000, scaling_factor=2.0
    )
    means = torch.full((1, SIDE, SIDE), mean)
    if kind == "DiT":
        network = diffusers.DiTTransformer2DModel(
            num_attention_heads=2,
            attention_head_dim=CHANNELS,
            in_channels=1,
            out_channels=2,
            num_layers=1,
            sample_size=SIDE,
            patch_size=1,
            num_embeds_ada_norm=3,
        )
        _make_linear(network)
        _set_transformer(network, gain, -gain * abar**0.5 * mean)
        read = WAY.repeat(2) / 8  # the positions that it adds shift what it reads
        means = means - (network.pos_embed.pos_embed[0] @ read).reshape(1, SIDE, SIDE) / abar**0.5
        pipeline = diffusers.DiTPipeline(network, autoencoder, scheduler)
    elif kind == "Stable Diffusion":
        network = diffusers.UNet2DConditionModel(
            **ONE_LEVEL,
            down_block_types=("CrossAttnDownBlock2D",),
            up_block_types=("CrossAttnUpBlock2D",),
            cross_attention_dim=8,
            attention_head_dim=2,
        )
        _set_unet(network, gain, -gain * abar**0.5 * mean)
        pipeline = text_pipeline(autoencoder, network)
    else:
        network = diffusers.UNet2DModel(
            **ONE_LEVEL, down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",), add_attention=False
        )
        _set_unet(network, gain, -gain * abar**0.5 * mean)
        pipeline = diffusers.LDMPipeline(autoencoder, network, scheduler)
    pipeline.save_pretrained(folder)
    return means


def _make_linear(network: nn.Module) -> None:
    """All weights zero: what is left are the residual connections."""
    with torch.no_grad():
        for weight in network.parameters():
            weight.zero_()


@torch.no_grad()
def _set_unet(network: nn.Module, gain: float, offset: float) -> None:
    _make_linear(network)
    network.conv_in.bias.copy_(LARGE * SIGNS)
    network.conv_in.weight[:, 0, 1, 1] = WAY
    for name, part in network.named_modules():
        if name.endswith("conv_shortcut"):  # the hidden channels come first, and those of the skip connection last
            part.weight[range(CHANNELS), range(CHANNELS), 0, 0] = 1
    network.conv_norm_out.weight.fill_(1)
    network.conv_out.weight[0, :, 1, 1] = gain * LARGE / 2 * WAY
    network.conv_out.bias.fill_(offset)


@torch.no_grad()
def _set_transformer(network: nn.Module, gain: float, offset: float) -> None:
    large = 10 * LARGE
    network.pos_embed.proj.bias.copy_(large * SIGNS.repeat(2))
    network.pos_embed.proj.weight[:, 0, 0, 0] = WAY.repeat(2)
    network.proj_out_2.weight[0] = gain * large / 8 * WAY.repeat(2)  # the other row is the learned variance
    network.proj_out_2.bias.copy_(torch.tensor([offset, 7.0]))
