"""Training of a denoiser: a `diffusers` UNet on noisy images (Ho et al. 2020), saved as a `DDPMPipeline`."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from einops import rearrange
from torch import Tensor, nn

from freemcg.diffusion.denoiser import Denoiser
from freemcg.diffusion.noise import particle_noise
from freemcg.files.bundles import denoiser_source
from freemcg.files.images import write_image
from freemcg.files.whole import write_text
from freemcg.messages.errors import InvalidValue
from freemcg.training.data import load_training_images
from freemcg.training.held_out import LEVELS, HeldOut
from freemcg.training.loop import Checks, start_accelerator, train
from freemcg.training.settings import DenoiserTraining
from freemcg.training.start import as_start, load_start


def train_denoiser(settings: DenoiserTraining, out: Path) -> dict[str, Any]:
    """Train, and write the pipeline, `training.json` (the record) and `samples.png` (64 samples) to `out`.

    With `settings.check_every`, the loss on held-out images is measured during training, at the noise levels `LEVELS`.
    The weights with the lowest mean are kept; they lie in `out` from the first check on. The loss is the same as in
    training, the mean squared error of the network's prediction.

    Returns:
        The record: settings, loss curve, checks, seconds, versions, and the identity of `settings.start_from`.

    Raises:
        FileNotFoundError, ValueError: the data, or the denoiser to start from, is missing, damaged or does not fit.
    """
    accelerator = start_accelerator()
    start = None if settings.start_from is None else load_start(Path(denoiser_source(settings.start_from)))
    if start is not None:
        if Path(start.name).resolve() == out.resolve():
            raise InvalidValue(f"{out} cannot be both start_from and --out; give another --out")
        settings = as_start(settings, start)
    unet, scheduler = _build(settings)
    if start is not None:
        unet.load_state_dict(start.unet.state_dict())
    images = load_training_images(
        settings.data,
        channels=settings.channels,
        image_size=settings.image_size,
        progress=accelerator.is_main_process,
    )
    alphas_cumprod = scheduler.alphas_cumprod.to(accelerator.device)

    def loss_at(model: nn.Module, batch: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        abar = alphas_cumprod[t].reshape(-1, 1, 1, 1)
        clean = 2 * batch - 1
        noisy = abar.sqrt() * clean + (1 - abar).sqrt() * noise
        wanted = {
            "epsilon": noise,
            "sample": clean,
            "v_prediction": abar.sqrt() * noise - (1 - abar).sqrt() * clean,
        }[scheduler.config.prediction_type]
        return F.mse_loss(model(noisy.contiguous(memory_format=torch.channels_last), t).sample, wanted)

    def loss(model: nn.Module, batch: Tensor, labels: Tensor | None, generator: torch.Generator) -> Tensor:
        noise = torch.randn(batch.shape, generator=generator).to(batch.device)
        t = torch.randint(len(alphas_cumprod), (len(batch),), generator=generator).to(batch.device)
        return loss_at(model, batch, noise, t)

    def write(network: nn.Module, record: dict[str, Any]) -> None:
        _save_pipeline(DDPMPipeline(network, scheduler), out)
        write_text(out / "training.json", json.dumps(record, indent=2) + "\n")

    def draw_samples(network: nn.Module, step: int) -> None:
        if settings.samples_every is not None and step % settings.samples_every == 0 and accelerator.is_main_process:
            out.mkdir(parents=True, exist_ok=True)
            write_image(_sample_grid(network, scheduler, settings), out / f"samples-{step}.png")

    checks = None
    if settings.holdout:
        images, held_out = images.split(settings.holdout, settings.seed)
        if len(held_out) == 0:
            raise InvalidValue(f"holdout {settings.holdout:g} keeps none of {len(images)} images; raise it")
    if settings.check_every is not None:
        denoiser = Denoiser(unet, scheduler)
        measure = HeldOut(held_out, loss_at, {level: denoiser.timestep(level) for level in LEVELS}, settings.seed)
        checks = Checks(settings.check_every, settings.patience, measure, write)
    unet = unet.to(memory_format=torch.channels_last)
    identity = None if start is None else start.identity
    trained, record = train(
        unet, loss, images, settings, out, accelerator, start=identity, checks=checks, after_step=draw_samples
    )
    if accelerator.is_main_process:
        write(trained, record)
        write_image(_sample_grid(trained, scheduler, settings), out / "samples.png")
    return record


def _build(settings: DenoiserTraining) -> tuple[UNet2DModel, DDPMScheduler]:
    """The network and the scheduler of the settings, tried on one blank image."""
    size, channels = settings.image_size, settings.channels
    try:
        unet = UNet2DModel(sample_size=size, in_channels=channels, out_channels=channels, **settings.network)
    except Exception as error:  # diffusers raises all kinds of exceptions
        raise InvalidValue(f"diffusers.UNet2DModel cannot be made of 'network': {_first_line(error)}") from error
    try:
        scheduler = DDPMScheduler(**settings.scheduler)
    except Exception as error:
        raise InvalidValue(f"diffusers.DDPMScheduler cannot be made of 'scheduler': {_first_line(error)}") from error
    denoiser = Denoiser(unet.eval(), scheduler)
    try:
        denoiser.denoise(torch.zeros(1, channels, size, size), 0)
    except RuntimeError as error:
        halvings = 2 ** (len(unet.config.block_out_channels) - 1)
        raise InvalidValue(
            f"the network does not take images of {size}x{size}; set image_size to a multiple of {halvings}, "
            f"or mend 'network' ({_first_line(error)})"
        ) from error
    return unet, scheduler


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _save_pipeline(pipeline: DDPMPipeline, out: Path) -> None:
    """Write a pipeline, each file whole. A process that has opened an earlier file can go on reading that one."""
    out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out) as folder:
        pipeline.save_pretrained(folder)
        for path in [path for path in Path(folder).rglob("*") if path.is_file()]:
            target = out / path.relative_to(folder)
            target.parent.mkdir(exist_ok=True)
            path.replace(target)


@torch.no_grad()
def _sample_grid(unet: nn.Module, scheduler: DDPMScheduler, settings: DenoiserTraining) -> Tensor:
    """An 8 x 8 grid of DDIM samples (50 steps), `(C, 8 H, 8 W)`, to look at."""
    shape = (settings.channels, settings.image_size, settings.image_size)
    device = next(unet.parameters()).device
    sampler = DDIMScheduler.from_config(scheduler.config)
    sampler.set_timesteps(50)
    samples = particle_noise(settings.seed, "samples", 0, 64, shape).to(device)
    for t in sampler.timesteps:
        samples = sampler.step(unet(samples, t).sample, t, samples).prev_sample
    grid: Tensor = rearrange((samples / 2 + 0.5).clamp(0, 1), "(rows columns) c h w -> c (rows h) (columns w)", rows=8)
    return grid
