"""How long an explanation of a picture will take, before a job starts: the denoisings that it needs, and their time."""

from __future__ import annotations

import os

import torch
from torch import Tensor

from freemcg.diffusion.denoiser import Denoiser
from freemcg.diffusion.realism import DRAWS, NOISE_LEVELS
from freemcg.diffusion.speed import seconds_per_image
from freemcg.jobs.plan import Task
from freemcg.settings import PaperSearch, Settings, SharedSearch, for_scores, make
from freemcg.tasks.attribution import denoisings_of_a_map
from freemcg.tasks.settling import settled
from freemcg.tasks.shared_search import POLISH_DRAWS


def measured_speed(denoiser: Denoiser, image: Tensor, scores: str) -> list[str]:
    """Measure the denoiser with `image` `(C, H, W)`, and say what that means for it. This costs no query.

    Args:
        scores: what the black box answers. The defaults of a search depend on it, and on the image.
    """
    settings = settled(make(Settings, for_scores({}, scores)), denoiser, image, scores)
    return [
        *describe_speed(seconds_per_image(denoiser, image), settings, str(denoiser.device)),
        describe_devices(denoiser.device.type, torch.cuda.device_count(), torch.get_num_threads(), _processors()),
    ]


def denoisings(settings: Settings, task: Task) -> int:
    """The images that are denoised for one explanation, if the queries of a map do not call for more particles.

    The settings leave nothing open. Of a counterfactual, all rounds of one try are counted. The 64 that
    `freemcg.tasks.settling` counts with are left out.
    """
    search = settings.search
    if task == "attribution":
        return denoisings_of_a_map(settings)
    measured = 2 * len(NOISE_LEVELS) * DRAWS
    if isinstance(search, PaperSearch):
        return search.particles * search.steps + measured
    return sum(_denoisings_of_a_round(each) for each in (search, *search.later)) + measured


def _denoisings_of_a_round(search: SharedSearch) -> int:
    drawn = max(search.unpaid, search.queries_per_gradient if search.estimate == "cross_covariance" else 0)
    moved, polished = search.particles * search.steps, POLISH_DRAWS * (search.particles + 1)
    companions = moved + POLISH_DRAWS if search.fidelity else 0
    return moved + drawn * search.gradients + polished + companions


def describe_speed(seconds: dict[int, float], settings: Settings, device: str) -> list[str]:
    """What the denoiser's time for an image, by batch size, means for one picture, as lines of text."""
    best = min(seconds, key=seconds.__getitem__)
    times = ", ".join(
        f"{1000 * each:.3g} ms in batches of {size}{' (best)' * (size == best)}" for size, each in seconds.items()
    )
    map_, search = denoisings(settings, "attribution"), denoisings(settings, "counterfactual")
    return [
        f"one denoising on {device}: {times}",
        f"a picture takes {seconds[best] * map_:.2g} s for the {map_} denoisings of an attribution and at most "
        f"{seconds[best] * search:.2g} s for the {search} of a counterfactual, beside the classifier's time",
    ]


def describe_devices(kind: str, gpus: int, threads: int, processors: int) -> str:
    """Which of the machine's devices are used by a denoiser on a device of a kind, `cpu` or `cuda`, as a line of text.

    Args:
        gpus: the CUDA devices that this process sees.
        threads: those in which torch computes.
        processors: those that this process may run on.
    """
    if kind != "cuda":
        idle = f"; CUDA devices: none of {gpus}, which --device cuda would use" if gpus else ""
        return f"threads in use: {threads}, processors: {processors}{idle}"
    more = f"; 'accelerate launch --multi_gpu --num_processes {gpus} -m freemcg' uses all" if gpus > 1 else ""
    return f"CUDA devices in use: 1 of {gpus}{more}"


def _processors() -> int:
    allowed = getattr(os, "sched_getaffinity", None)  # only Linux has it
    return (os.cpu_count() or 1) if allowed is None else len(allowed(0))
