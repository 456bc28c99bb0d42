"""A job that takes milliseconds: a model of a few pixels, and an explainer that only asks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMScheduler
from faults import Faults
from PIL import Image
from torch import Tensor, nn

from freemcg import Attribution, BlackBox, Counterfactual, Denoiser, FreeMCG, QueryBudgetExceeded
from freemcg.blackbox.cache import image_key
from freemcg.results import Status

SIDE = 2
QUESTIONS = (1, 3, 3)  # the images in each of its questions
COST = sum(QUESTIONS)
BATCH = 2
NAMES = ("a.png", "b.png", "deep/c.png")


class Idle(nn.Module):
    """The network of a denoiser that is never called."""

    config = {"in_channels": 1, "sample_size": SIDE}  # noqa: RUF012


DENOISER = Denoiser(Idle().eval(), DDPMScheduler())


class Model:
    """Two classes, by the light of weighted pixels. Each question is a point of `faults`."""

    def __init__(self, name: str, faults: Faults) -> None:
        self.identity, self.faults = name, faults
        self.batches: list[list[bytes]] = []

    def __call__(self, images: Tensor) -> Tensor:
        self.batches.append([self.identity.encode() + image_key(image) for image in images])
        self.faults.at()
        weights = torch.arange(1, SIDE**2 + 1) * (0.2 if self.identity == "one" else -0.3)
        light = (images.flatten(1).double() * weights).sum(dim=1).mul(2**20).round() / 2**20
        return torch.stack([light, -light], dim=1)


class Asking(FreeMCG):
    """Asks in three steps, each of which depends on the answers before. Its results hold all answers.

    Attributes:
        lost: the images that were asked about for explanations that were not finished.
    """

    def __init__(self, black_box: BlackBox) -> None:
        search = {"queries": COST, "particles": 1, "steps": 2, "unpaid": 2}
        super().__init__(black_box, DENOISER, particles=COST, queries=COST, search=search)
        self.lost: list[bytes] = []

    def explain(self, image: Tensor, target: int | str | None = None, **_: object) -> Attribution:
        answers, status = self._asked(image)
        values = image * answers.sum()
        return Attribution(values, values.abs(), image, answers[0], 0, 0, status, len(answers), 0.0, self._record())

    def counterfactual(self, image: Tensor, target: int | str | None = None) -> Counterfactual:
        answers, status = self._asked(image)
        path, total = image[None] * answers.sum(), float(answers.sum())
        shown = (1 - image, image, path, answers[-1], answers[0], 1, 1, 0, total, total, 1.0)
        return Counterfactual(*shown, status, len(answers), 0.0, self._record())

    def _record(self) -> dict:
        return {"settings": self.settings.record()}

    def _asked(self, image: Tensor) -> tuple[Tensor, str]:
        batches = self.black_box.predict.batches
        begun, answers = len(batches), list[Tensor]()
        try:
            for step, count in enumerate(QUESTIONS):
                moved = answers[-1].exp()[0, 0] / 8 if answers else 0
                points = image + moved * torch.arange(1, count + 1).reshape(-1, 1, 1, 1) / (step + 1)
                answers.append(self.black_box(points.clamp(0, 1)))
        except QueryBudgetExceeded:
            if not answers:
                raise
            return torch.cat(answers), Status.BUDGET_EXHAUSTED
        finally:
            if len(answers) < len(QUESTIONS):
                self.lost += [key for batch in batches[begun:] for key in batch]
        return torch.cat(answers), Status.COMPLETE


def draw_picture(path: Path, version: int) -> None:
    """Write a picture. Another name or version gives another picture."""
    seed = 10 * NAMES.index("/".join(path.parts[-2:]) if path.parent.name == "deep" else path.name) + version
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 120, (SIDE, SIDE)).astype(np.uint8)).save(path)
