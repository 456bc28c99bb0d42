"""How long a denoiser takes for an image, measured."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from freemcg.diffusion.denoiser import Denoiser

GROWTH = 4
LONG_ENOUGH = 1.0  # seconds; a larger batch is not tried after a call of that length


def seconds_per_image(denoiser: Denoiser, image: Tensor) -> dict[int, float]:
    """The seconds that one denoising of an image like `image` `(C, H, W)` takes, by the size of the batch.

    Batches of 1, 4, 16 and so on are tried, up to `denoiser.batch_size`. The first call of each size is not counted,
    since it also prepares. A call of more than a second ends the trial and counts, however often it was called. It
    costs no query.
    """
    point, t = denoiser.encode(image[None].to(denoiser.device)), denoiser.timesteps // 2
    found: dict[int, float] = {}
    size = 1
    while size <= denoiser.batch_size:
        batch = point.repeat(size, 1, 1, 1)
        taken = _timed(denoiser, batch, t)
        if taken < LONG_ENOUGH:
            taken = _timed(denoiser, batch, t)
        found[size] = taken / size
        if taken >= LONG_ENOUGH:
            break
        size *= GROWTH
    return found


def _timed(denoiser: Denoiser, batch: Tensor, t: int) -> float:
    began = time.perf_counter()
    denoiser.denoise(batch, t)
    if batch.is_cuda:
        torch.cuda.synchronize(batch.device)
    return time.perf_counter() - began
