"""How long an explanation of a picture will take, before a job starts: the denoisings that it needs, and their time."""

from __future__ import annotations

from torch import Tensor

from freemcg.diffusion.denoiser import Denoiser
from freemcg.diffusion.realism import DRAWS, NOISE_LEVELS
from freemcg.diffusion.speed import seconds_per_image
from freemcg.jobs.plan import Task
from freemcg.settings import PaperSearch, Settings, for_scores, make
from freemcg.tasks.settling import settled_search
from freemcg.tasks.shared_search import POLISH_DRAWS


def measured_speed(denoiser: Denoiser, image: Tensor, scores: str) -> list[str]:
    """Measure the denoiser with `image` `(C, H, W)`, and say what that means for it. This costs no query.

    Args:
        scores: what the black box answers. The defaults of a search depend on it, and on the image.
    """
    settings = make(Settings, for_scores({}, scores))
    search = settled_search(settings.search, denoiser, image, scores, seed=settings.seed)
    settings = settings.model_copy(update={"search": search})
    return describe_speed(seconds_per_image(denoiser, image), settings, str(denoiser.device))


def denoisings(settings: Settings, task: Task) -> int:
    """The images that are denoised for one explanation, if the queries of a map do not call for more particles.

    The search leaves nothing open, see `freemcg.tasks.settling`, whose own 64 are not counted.
    """
    search = settings.search
    if task == "attribution":
        return settings.particles * len(settings.noise)
    measured = 2 * len(NOISE_LEVELS) * DRAWS
    if isinstance(search, PaperSearch):
        return search.particles * search.steps + measured
    drawn = max(search.unpaid, search.queries_per_gradient if search.estimate == "cross_covariance" else 0)
    moved, polished = search.particles * search.steps, POLISH_DRAWS * (search.particles + 1)
    companions = moved + POLISH_DRAWS if search.fidelity else 0
    return moved + drawn * search.gradients + polished + companions + measured


def describe_speed(seconds: dict[int, float], settings: Settings, device: str) -> list[str]:
    """What the denoiser's time for an image, by batch size, means for one picture, as lines of text."""
    best = min(seconds, key=seconds.__getitem__)
    times = ", ".join(f"{1000 * each:.3g} ms in batches of {size}" for size, each in seconds.items())
    map_, search = denoisings(settings, "attribution"), denoisings(settings, "counterfactual")
    return [
        f"one denoising on {device}: {times}",
        f"a picture takes {seconds[best] * map_:.2g} s for the {map_} denoisings of an attribution and "
        f"{seconds[best] * search:.2g} s for the {search} of a counterfactual, beside the classifier's time",
    ]
