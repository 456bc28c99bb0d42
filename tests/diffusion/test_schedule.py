"""A schedule is known by what defines it. Its last bits, which differ between machines, do not count."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import diffusers
import numpy as np
import pytest
import torch

from freemcg import Denoiser

COSINE = {"beta_schedule": "squaredcos_cap_v2"}
ZERO_SNR = {"rescale_betas_zero_snr": True}


def identity(scheduler):
    return Denoiser(torch.nn.Identity().eval(), scheduler).identity


def shaken(scheduler, size, seed=0):
    """The same scheduler with other last bits in its schedule."""
    noise = torch.from_numpy(np.random.default_rng(seed).uniform(-size, size, len(scheduler.alphas_cumprod)))
    scheduler.alphas_cumprod = (scheduler.alphas_cumprod.double() * (1 + noise)).clamp(max=1)
    return scheduler


def bare(abar):
    """A scheduler that says nothing of how its schedule was made."""
    return SimpleNamespace(alphas_cumprod=abar)


@pytest.mark.parametrize("settings", [{}, COSINE, ZERO_SNR, {"beta_schedule": "sigmoid"}, {"beta_end": 0.03}])
def test_other_last_bits_are_the_same_schedule(settings):
    one, *others = (diffusers.DDPMScheduler(**settings) for _ in range(9))
    for seed, other in enumerate(others):
        assert identity(shaken(other, 3e-7, seed)) == identity(one)
        assert identity(bare(other.alphas_cumprod)) == identity(bare(one.alphas_cumprod)) != identity(one)


def test_the_same_settings_are_the_same_schedule_in_any_scheduler():
    assert identity(diffusers.DDIMScheduler()) == identity(diffusers.DDPMScheduler(clip_sample=False))


def test_other_schedules_have_other_identities():
    settings = [{}, COSINE, ZERO_SNR, {"beta_end": 0.021}, {"num_train_timesteps": 999}]
    schedulers = [diffusers.DDPMScheduler(**each) for each in settings]
    schedulers += [bare(each.alphas_cumprod) for each in schedulers]
    schedulers += [diffusers.DDPMScheduler(trained_betas=betas) for betas in ([0.1, 0.2, 0.3], [0.1, 0.3, 0.2])]
    schedulers.append(shaken(diffusers.DDPMScheduler(), 0.1))  # its settings do not tell its schedule
    assert len({identity(each) for each in schedulers}) == len(schedulers)


def test_another_vector_unit_gives_the_same_identity():
    code = "from freemcg.models.load import load_denoiser; print(load_denoiser('digits').identity)"
    said = set()
    for unit in ("default", "avx2"):
        environment = os.environ | {"ATEN_CPU_CAPABILITY": unit, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", code]
        said.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(said) == 1
