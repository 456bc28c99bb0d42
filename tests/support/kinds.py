"""A tiny pipeline of each kind, and the network of each kind that is exact for Gaussian images."""

from __future__ import annotations

import diffusers
import torch
from torch import Tensor, nn
from unets import tiny_unet

SCORE = {
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": (32, 32),
    "down_block_types": ("SkipDownBlock2D", "AttnSkipDownBlock2D"),
    "up_block_types": ("AttnSkipUpBlock2D", "SkipUpBlock2D"),
    "time_embedding_type": "fourier",
    "center_input_sample": True,
}
"""The structure of NCSN++, as `google/ncsnpp-ffhq-256` has it."""

DISCRETE = {
    "epsilon of DDIM": (diffusers.DDIMPipeline, diffusers.DDIMScheduler, {}, {}),
    "epsilon of PNDM": (diffusers.PNDMPipeline, diffusers.PNDMScheduler, {}, {}),
    "epsilon of DPM-Solver": (diffusers.DDPMPipeline, diffusers.DPMSolverMultistepScheduler, {}, {}),
    "epsilon and a variance": (
        diffusers.DDPMPipeline,
        diffusers.DDPMScheduler,
        {"variance_type": "learned_range"},
        {"out_channels": 2},
    ),
}
"""Pipelines in discrete time. The first word of a name is what the network predicts."""

PIPELINES = {
    "edm": (diffusers.DDPMPipeline, diffusers.EDMEulerScheduler, {"sigma_data": 0.4}, {}),
    "edm of a velocity": (
        diffusers.DDPMPipeline,
        diffusers.EDMDPMSolverMultistepScheduler,
        {"prediction_type": "v_prediction"},
        {},
    ),
    "consistency": (diffusers.ConsistencyModelPipeline, diffusers.CMStochasticIterativeScheduler, {}, {}),
    "score": (diffusers.ScoreSdeVePipeline, diffusers.ScoreSdeVeScheduler, {}, SCORE),
    "flow": (diffusers.DDPMPipeline, diffusers.FlowMatchEulerDiscreteScheduler, {"shift": 3.0}, {}),
}
"""Pipelines that take any sigma."""


def save_pipeline(kind, folder, **network):
    """Save a tiny pipeline with random weights. Returns its network and its scheduler."""
    torch.manual_seed(0)
    pipeline, scheduler, settings, structure = {**DISCRETE, **PIPELINES}[kind]
    unet, made = tiny_unet(**structure, **network), scheduler(**settings)
    pipeline(unet, made).save_pretrained(folder)
    return unet, made


class Exact(nn.Module):
    """The exact network of a kind for images `x ~ N(mean, covariance)` in [-1, 1], from what the kind gives it.

    At `x_sigma = x + sigma eps`, the clean image is `m + S (S + sigma^2 I)^-1 (x_sigma - m)`.
    """

    def __init__(self, kind: str, mean: Tensor, covariance: Tensor, scheduler) -> None:
        super().__init__()
        self.mean, self.covariance = (nn.Parameter(each, requires_grad=False) for each in (mean, covariance))
        self.answer, self.scheduler = getattr(self, f"_{kind.split(maxsplit=1)[0]}"), scheduler
        self.eval()

    def forward(self, given: Tensor, time: Tensor) -> Tensor:
        assert len(time) == len(given)
        assert (time == time[0]).all()
        return self.answer(given, time[0].double())

    def clean(self, x: Tensor, sigma: Tensor) -> Tensor:
        marginal = self.covariance + sigma**2 * torch.eye(len(self.covariance), dtype=x.dtype)
        rest = torch.linalg.solve(marginal, (x - self.mean).flatten(1).T)
        return self.mean + (self.covariance @ rest).T.reshape(x.shape)

    def _edm(self, given: Tensor, time: Tensor) -> Tensor:
        config = self.scheduler.config
        s, d = (4 * time).exp(), config.sigma_data
        x = given * (s**2 + d**2) ** 0.5
        sign = -1 if config.prediction_type == "v_prediction" else 1
        return sign * (self.clean(x, s) - d**2 / (s**2 + d**2) * x) * (s**2 + d**2) ** 0.5 / (s * d)

    def _consistency(self, given: Tensor, time: Tensor) -> Tensor:
        s, least = (time / 250).exp(), 0.002
        x = given * (s**2 + 0.25) ** 0.5
        skipped = 0.25 / ((s - least) ** 2 + 0.25) * x
        return (self.clean(x, s) - skipped) * (s**2 + 0.25) ** 0.5 / (0.5 * (s - least))

    def _score(self, given: Tensor, time: Tensor) -> Tensor:
        x, sigma = 2 * given - 1, 2 * time
        return (self.clean(x, sigma) - x) / 2 / time**2

    def _flow(self, given: Tensor, time: Tensor) -> Tensor:
        s = time / 1000
        return (given - self.clean(given / (1 - s), s / (1 - s))) / s
