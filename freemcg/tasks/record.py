"""The record of a result, which tells what made it."""

from __future__ import annotations

from typing import Any

import torch

from freemcg.blackbox import BlackBox
from freemcg.diffusion.denoiser import BATCH_SIZE, Denoiser
from freemcg.version import versions


def made_by(black_box: BlackBox, denoiser: Denoiser, settings: dict[str, Any]) -> dict[str, Any]:
    """The record of a result: settings, the identities of both models, the names of the classes, versions.

    It holds a condition, a class or a text, only if the denoiser has one. It holds a dtype and a batch size only if
    they are not those of most denoisers, float32 and `BATCH_SIZE`.
    """
    record: dict[str, Any] = {
        "settings": settings,
        "black_box": black_box.identity,
        "scores": black_box.scores,
        "class_names": None if black_box.class_names is None else list(black_box.class_names),
        "denoiser": denoiser.name,
        "denoiser_identity": denoiser.identity,
        "versions": versions(),
    }
    if denoiser.condition is not None:
        record["condition"] = denoiser.condition.record
    if denoiser.dtype != torch.float32:
        record["denoiser_dtype"] = str(denoiser.dtype).removeprefix("torch.")
    if denoiser.batch_size != BATCH_SIZE:
        record["denoiser_batch_size"] = denoiser.batch_size
    return record
