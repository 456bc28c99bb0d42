"""The identity of a noise schedule, which is the same on every machine that computes the schedule."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import torch
from torch import Tensor

from freemcg.diffusion.network import read_config
from freemcg.identity.rounded import rounded

SETTINGS = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "rescale_betas_zero_snr")
"""The settings by which `diffusers` defines a schedule."""


def schedule_digest(scheduler: Any, alphas_cumprod: Tensor) -> str:
    """A digest of the schedule `abar_t`, `(T,)` float64 in (0, 1), that does not depend on its last bits.

    Those depend on the processor and on its threads. So the settings of the schedule count, if they define it: then
    a scheduler that is made from them alone has the same schedule. Of any other schedule the log-ratios of noise to
    signal count, rounded (`freemcg.identity.rounded`).
    """
    settings = {name: _plain(value) for name in SETTINGS if (value := read_config(scheduler, name, None)) is not None}
    if _defined_by(settings, alphas_cumprod):
        said = json.dumps(settings, sort_keys=True)
    else:
        inside = alphas_cumprod.clamp(1e-4, 1 - 1e-4)
        said = f"{len(inside)} {rounded(((1 - inside) / inside).log())}"
    return hashlib.blake2b(said.encode(), digest_size=4).hexdigest()


def _plain(value: Any) -> Any:
    return np.asarray(value).tolist()


def _defined_by(settings: dict[str, Any], alphas_cumprod: Tensor) -> bool:
    from diffusers import DDPMScheduler  # noqa: PLC0415  (takes seconds to import)

    try:
        made = torch.as_tensor(DDPMScheduler(**settings).alphas_cumprod).double()
    except Exception:  # another kind of scheduler may give these names any meaning
        return False
    return made.shape == alphas_cumprod.shape and torch.allclose(made, alphas_cumprod, rtol=1e-3, atol=1e-7)
