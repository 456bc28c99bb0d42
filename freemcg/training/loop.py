"""One training loop for all three models: AdamW, a schedule of its rate, EMA, checkpoints, exact resume.

Step `s` draws its images, augmentation and noise from a generator seeded by `(seed, s, process)` alone, so a run that
was stopped and started again goes through the same batches as one that was not. One that is finished goes on from its
last checkpoint where the settings ask for more steps.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from tqdm import tqdm

from freemcg.output import written_whole
from freemcg.refusal import InvalidValue
from freemcg.seeding import generator_for
from freemcg.training.data import Augmentation, ImageSet
from freemcg.training.progress import Progress, changed_settings
from freemcg.training.schedule import relative_rate
from freemcg.version import versions

Loss = Callable[[nn.Module, Tensor, Tensor | None, torch.Generator], Tensor]


class Training(BaseModel):
    """What every training config holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str = Field("digits", description="'digits', a folder of pictures, or a file: see load_training_images")
    channels: int = Field(1, ge=1, le=3)
    image_size: int = Field(32, ge=8)
    steps: int = Field(2000, ge=1)
    batch_size: int = Field(64, ge=1, description="images a step and process")
    learning_rate: float = Field(1e-3, gt=0)
    schedule: Literal["cosine", "warmup_stable_decay"] = Field("cosine", description="see freemcg.training.schedule")
    warmup: int = Field(100, ge=0, description="steps over which the learning rate rises")
    decay: float = Field(0.2, gt=0, le=1, description="last share of the steps, over which warmup_stable_decay falls")
    weight_decay: float = Field(0.0, ge=0)
    ema: float | None = Field(None, gt=0, lt=1, description="decay of the averaged weights that are saved")
    augment: Augmentation = Augmentation()
    checkpoint_every: int = Field(500, ge=1)
    seed: int = 0


def train(
    network: nn.Module,
    loss: Loss,
    images: ImageSet,
    settings: Training,
    out: Path,
    accelerator: Accelerator,
    *,
    start: str | None = None,
) -> tuple[nn.Module, dict[str, Any]]:
    """Train `network`, from `out/checkpoint.pt` onwards where an earlier run left one.

    Args:
        network: trained in place, over all processes of `accelerator`.
        loss: `(network, images (B, C, H, W) in [0, 1], labels (B,) or None, generator) -> scalar`.
        start: identity of the weights that `network` comes with, where they are another's.

    Returns:
        The network whose weights should be kept (the averaged one where `settings.ema` is set), in eval mode, and the
        record of the training: loss curve, runs, seconds, versions, settings.

    Raises:
        ValueError: the checkpoint in `out` was made with settings that may not change, or from another start.
    """
    averaged = copy.deepcopy(network).eval().requires_grad_(False).to(accelerator.device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    model, optimizer = accelerator.prepare(network, optimizer)
    kept = accelerator.unwrap_model(model)
    checkpoint = out / "checkpoint.pt"
    progress, changed = Progress(), {}
    if checkpoint.is_file():
        state = torch.load(checkpoint, map_location=accelerator.device, weights_only=True)
        progress = Progress(**state["progress"])
        changed = changed_settings(checkpoint, state["settings"], settings, progress.step)
        if state["start"] != start:
            raise InvalidValue(
                f"{checkpoint} began with other weights, {state['start']}, than {start}; give another --out"
            )
        kept.load_state_dict(state["network"])
        averaged.load_state_dict(state["averaged"])
        optimizer.load_state_dict(state["optimizer"])
    if progress.step < settings.steps:
        progress.begin(changed)

    bar = tqdm(
        range(progress.step, settings.steps),
        initial=progress.step,
        total=settings.steps,
        desc="training",
        disable=not accelerator.is_main_process,
        mininterval=1.0,
    )
    began, running = time.monotonic(), math.nan
    model.train()
    for step in bar:
        generator = generator_for(settings.seed, "train", step, accelerator.process_index)
        chosen = torch.randint(len(images), (settings.batch_size,), generator=generator)
        batch, labels = images.batch(chosen)
        batch = settings.augment(batch, generator).to(accelerator.device)
        labels = None if labels is None else labels.to(accelerator.device)
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * relative_rate(step, settings)
        value = loss(model, batch, labels, generator)
        optimizer.zero_grad()
        accelerator.backward(value)
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if settings.ema is not None:
            _average(averaged, kept, min(settings.ema, (1 + step) / (10 + step)))
        running = value.item() if math.isnan(running) else 0.98 * running + 0.02 * value.item()
        if step % 20 == 0:
            bar.set_postfix(loss=f"{running:.4f}")
        progress.advance(time.monotonic() - began)
        last = progress.step == settings.steps
        if progress.step % 100 == 0 or last:
            progress.loss_curve.append([progress.step, round(running, 6)])
        if accelerator.is_main_process and (progress.step % settings.checkpoint_every == 0 or last):
            state = {
                "network": kept.state_dict(),
                "averaged": averaged.state_dict(),
                "optimizer": optimizer.state_dict(),
                "progress": asdict(progress),
                "settings": json.loads(settings.model_dump_json()),
                "start": start,
            }
            out.mkdir(parents=True, exist_ok=True)
            with written_whole(checkpoint) as partial:
                torch.save(state, partial)
    record = {
        "settings": json.loads(settings.model_dump_json()),
        "start": start,
        "images": len(images),
        "parameters": sum(parameter.numel() for parameter in kept.parameters()),
        "seconds": progress.seconds,
        "processes": accelerator.num_processes,
        "runs": progress.runs,
        "loss_curve": progress.loss_curve,
        "versions": versions(),
    }
    return (kept if settings.ema is None else averaged).eval(), record


@torch.no_grad()
def _average(averaged: nn.Module, network: nn.Module, decay: float) -> None:
    for mean, value in zip(averaged.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)
