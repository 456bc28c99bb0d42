"""Training of a denoiser: a `diffusers` UNet on noisy images (Ho et al. 2020), saved as a `DDPMPipeline`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from einops import rearrange
from pydantic import Field
from torch import Tensor, nn

from freemcg.images import write_image
from freemcg.output import write_text
from freemcg.refusal import InvalidValue
from freemcg.seeding import particle_noise
from freemcg.training.data import load_training_images
from freemcg.training.loop import Training, train
from freemcg.training.start import as_start, load_start


class DenoiserTraining(Training):
    """Config of `freemcg train denoiser`."""

    start_from: str | None = Field(None, description="folder of a denoiser whose weights are gone on from")
    network: dict[str, Any] = Field(default_factory=dict, description="arguments of diffusers.UNet2DModel")
    scheduler: dict[str, Any] = Field(default_factory=dict, description="arguments of diffusers.DDPMScheduler")
    ema: float | None = Field(0.999, gt=0, lt=1)


def train_denoiser(settings: DenoiserTraining, out: Path) -> dict[str, Any]:
    """Train, and write to `out`: the pipeline, `training.json` (the record) and `samples.png` (64 samples).

    Returns:
        The record: settings, loss curve, seconds, versions, and what `settings.start_from` was.

    Raises:
        FileNotFoundError, ValueError: the data, or the denoiser to start from, is not what it must be.
    """
    accelerator = Accelerator()
    start = None if settings.start_from is None else load_start(Path(settings.start_from))
    if start is not None:
        if Path(start.name).resolve() == out.resolve():
            raise InvalidValue(f"{out} cannot be both start_from and --out; give another --out")
        settings = as_start(settings, start)
    images = load_training_images(
        settings.data,
        channels=settings.channels,
        image_size=settings.image_size,
        progress=accelerator.is_main_process,
    )
    unet = UNet2DModel(
        sample_size=settings.image_size,
        in_channels=settings.channels,
        out_channels=settings.channels,
        **settings.network,
    )
    if start is not None:
        unet.load_state_dict(start.unet.state_dict())
    scheduler = DDPMScheduler(**settings.scheduler)
    alphas_cumprod = scheduler.alphas_cumprod.to(accelerator.device)

    def loss(model: nn.Module, batch: Tensor, labels: Tensor | None, generator: torch.Generator) -> Tensor:
        noise = torch.randn(batch.shape, generator=generator).to(batch.device)
        t = torch.randint(len(alphas_cumprod), (len(batch),), generator=generator).to(batch.device)
        abar = alphas_cumprod[t].reshape(-1, 1, 1, 1)
        clean = 2 * batch - 1
        noisy = abar.sqrt() * clean + (1 - abar).sqrt() * noise
        wanted = {
            "epsilon": noise,
            "sample": clean,
            "v_prediction": abar.sqrt() * noise - (1 - abar).sqrt() * clean,
        }[scheduler.config.prediction_type]
        return F.mse_loss(model(noisy.contiguous(memory_format=torch.channels_last), t).sample, wanted)

    unet = unet.to(memory_format=torch.channels_last)
    identity = None if start is None else start.identity
    trained, record = train(unet, loss, images, settings, out, accelerator, start=identity)
    if accelerator.is_main_process:
        DDPMPipeline(trained, scheduler).save_pretrained(out)
        write_image(_sample_grid(trained, scheduler, settings), out / "samples.png")
        write_text(out / "training.json", json.dumps(record, indent=2) + "\n")
    return record


@torch.no_grad()
def _sample_grid(unet: nn.Module, scheduler: DDPMScheduler, settings: DenoiserTraining) -> Tensor:
    """An 8 x 8 grid of DDIM samples (50 steps), `(C, 8 H, 8 W)`, to be looked at."""
    shape = (settings.channels, settings.image_size, settings.image_size)
    device = next(unet.parameters()).device
    sampler = DDIMScheduler.from_config(scheduler.config)
    sampler.set_timesteps(50)
    samples = particle_noise(settings.seed, "samples", 0, 64, shape).to(device)
    for t in sampler.timesteps:
        samples = sampler.step(unet(samples, t).sample, t, samples).prev_sample
    grid: Tensor = rearrange((samples / 2 + 0.5).clamp(0, 1), "(rows columns) c h w -> c (rows h) (columns w)", rows=8)
    return grid
