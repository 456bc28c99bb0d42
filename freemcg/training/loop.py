"""One training loop for all three models: AdamW, a schedule of its rate, EMA, checkpoints, exact resume.

Step `s` draws its images, augmentation and noise from a generator seeded by `(seed, s, process)` alone. So a run that
was stopped and resumed sees the same batches as one that was not. A finished run goes on from its last checkpoint if
the settings ask for more steps.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn
from tqdm import tqdm

from freemcg.diffusion.noise import generator_for
from freemcg.files.whole import written_whole
from freemcg.messages.errors import InvalidValue
from freemcg.training.data import ImageSet
from freemcg.training.progress import Progress, changed_settings
from freemcg.training.schedule import relative_rate
from freemcg.training.settings import Training
from freemcg.version import versions

Loss = Callable[[nn.Module, Tensor, Tensor | None, torch.Generator], Tensor]


def start_accelerator() -> Accelerator:
    """Join the processes that the launcher started, even if they have only CPUs."""
    return Accelerator(cpu=not (torch.cuda.is_available() or torch.backends.mps.is_available()))


@dataclass(frozen=True)
class Checks:
    """How the network that would be kept is checked during training.

    Attributes:
        every: the steps between two checks. There is also a check at the last step, and one before the first step if
            training starts from other weights.
        patience: the checks without a lower mean loss after which training stops.
        measure: maps a network to its losses by name. The weights with the lowest mean loss are kept.
        improved: takes the best network so far and the record so far.
    """

    every: int
    patience: int | None
    measure: Callable[[nn.Module], dict[str, float]]
    improved: Callable[[nn.Module, dict[str, Any]], None]


def train(
    network: nn.Module,
    loss: Loss,
    images: ImageSet,
    settings: Training,
    out: Path,
    accelerator: Accelerator,
    *,
    start: str | None = None,
    checks: Checks | None = None,
    after_step: Callable[[nn.Module, int], None] = lambda network, step: None,
) -> tuple[nn.Module, dict[str, Any]]:
    """Train `network`, and continue from `out/checkpoint.pt` if an earlier run left one.

    Args:
        network: trained in place, over all processes of `accelerator`.
        loss: `(network, images (B, C, H, W) in [0, 1], labels (B,) or None, generator) -> scalar`.
        start: the identity of the weights in `network`, if they come from another model.
        checks: the checks during training, if any.
        after_step: takes the network that would be kept, and the number of steps that are done.

    Returns:
        The network whose weights should be kept, in eval mode, and the record of the training: loss curve, runs,
        seconds, versions, settings. With `settings.ema` the network is the averaged one; with checks, the best one.

    Raises:
        ValueError: the checkpoint in `out` was made with settings that may not change, or from another start.
    """
    run = _Run(network, len(images), settings, out, accelerator, start)
    patience = None if checks is None else checks.patience
    changed = run.resume()
    progress = run.progress
    if progress.step < settings.steps and (changed or not progress.stalled(patience)):
        progress.begin(changed)
    if checks is not None and start is not None and not progress.checks:
        run.check(checks)
    bar = tqdm(
        range(progress.step, settings.steps),
        initial=progress.step,
        total=settings.steps,
        desc="training",
        disable=not accelerator.is_main_process,
        mininterval=1.0,
    )
    smoothed = math.nan
    run.model.train()
    for step in bar:
        if progress.stalled(patience):
            break
        value = run.step(loss, images)
        smoothed = value if math.isnan(smoothed) else 0.98 * smoothed + 0.02 * value
        if step % 20 == 0:
            bar.set_postfix(loss=f"{smoothed:.4f}")
        last = progress.step == settings.steps
        if progress.step % 100 == 0 or last:
            progress.loss_curve.append([progress.step, round(smoothed, 6)])
        if checks is not None and (progress.step % checks.every == 0 or last):
            run.check(checks)
        run.shown.eval()
        after_step(run.shown, progress.step)
        run.kept.train()
        if progress.step % settings.checkpoint_every == 0 or last or progress.stalled(patience):
            run.save()
    accelerator.end_training()
    return run.finished(), run.record()


class _Run:
    """The state of a training: weights, optimizer and progress. Its methods are steps, checks and checkpoints."""

    def __init__(
        self,
        network: nn.Module,
        images: int,
        settings: Training,
        out: Path,
        accelerator: Accelerator,
        start: str | None,
    ) -> None:
        self.averaged = copy.deepcopy(network).eval().requires_grad_(False).to(accelerator.device)
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.model, self.optimizer = accelerator.prepare(network, optimizer)
        self.kept = accelerator.unwrap_model(self.model)
        self.shown = self.kept if settings.ema is None else self.averaged
        self.images, self.settings, self.accelerator, self.start = images, settings, accelerator, start
        self.checkpoint = out / "checkpoint.pt"
        self.progress = Progress()
        self.best: dict[str, Tensor] | None = None
        self.began = time.monotonic()

    def resume(self) -> dict[str, list[Any]]:
        """Continue from the checkpoint, if there is one, and return the settings that have changed since."""
        if not self.checkpoint.is_file():
            return {}
        state = torch.load(self.checkpoint, map_location=self.accelerator.device, weights_only=True)
        changed = changed_settings(self.checkpoint, state["settings"], self.settings, state["progress"]["step"])
        if state["start"] != self.start:
            raise InvalidValue(
                f"{self.checkpoint} began with the weights {state['start']}, not {self.start}; give another --out"
            )
        self.progress = Progress(**state["progress"])
        self.kept.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.best = state["best"]
        return changed

    def step(self, loss: Loss, images: ImageSet) -> float:
        """Take one step of the optimizer, and return its loss."""
        settings, step, accelerator = self.settings, self.progress.step, self.accelerator
        generator = generator_for(settings.seed, "train", step, accelerator.process_index)
        chosen = torch.randint(len(images), (settings.batch_size,), generator=generator)
        batch, labels = images.batch(chosen)
        batch = settings.augment(batch, generator).to(accelerator.device)
        labels = None if labels is None else labels.to(accelerator.device)
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate * relative_rate(step, settings)
        value = loss(self.model, batch, labels, generator)
        self.optimizer.zero_grad()
        accelerator.backward(value)
        accelerator.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        if settings.ema is not None:
            _average(self.averaged, self.kept, min(settings.ema, (1 + step) / (10 + step)))
        self.progress.advance(time.monotonic() - self.began)
        return value.item()

    def check(self, checks: Checks) -> None:
        """Measure the network that would be kept, and keep its weights if it is the best so far."""
        self.shown.eval()
        losses = [checks.measure(self.shown) if self.accelerator.is_main_process else {}]
        broadcast_object_list(losses)
        if self.progress.check(losses[0]):
            self.best = copy.deepcopy(self.shown.state_dict())
            if self.accelerator.is_main_process:
                checks.improved(self.shown, self.record())
        self.kept.train()

    def save(self) -> None:
        """Write the checkpoint."""
        if not self.accelerator.is_main_process:
            return
        state = {
            "network": self.kept.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best": self.best,
            "progress": asdict(self.progress),
            "settings": json.loads(self.settings.model_dump_json()),
            "start": self.start,
        }
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(self.checkpoint) as partial:
            torch.save(state, partial)

    def finished(self) -> nn.Module:
        """The network to keep."""
        if self.best is not None:
            self.shown.load_state_dict(self.best)
        return self.shown.eval()

    def record(self) -> dict[str, Any]:
        """The contents of `training.json`."""
        return {
            "settings": json.loads(self.settings.model_dump_json()),
            "start": self.start,
            "images": self.images,
            "parameters": sum(parameter.numel() for parameter in self.kept.parameters()),
            "seconds": self.progress.seconds,
            "processes": self.accelerator.num_processes,
            "runs": self.progress.runs,
            "kept_step": self.progress.best_step if self.progress.checks else self.progress.step,
            "checks": self.progress.checks,
            "loss_curve": self.progress.loss_curve,
            "versions": versions(),
        }


@torch.no_grad()
def _average(averaged: nn.Module, network: nn.Module, decay: float) -> None:
    for mean, value in zip(averaged.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)
