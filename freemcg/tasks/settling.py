"""The values of a search that nobody named follow from the image, before the first query."""

from __future__ import annotations

from torch import Tensor

from freemcg.diffusion.denoiser import Denoiser
from freemcg.ensemble import effective_dimension
from freemcg.gradient.estimator import Ensemble
from freemcg.settings import PaperSearch, SharedSearch

LEVEL, PARTICLES = 0.2, 64


def settled_search(
    search: SharedSearch | PaperSearch, denoiser: Denoiser, image: Tensor, scores: str, *, seed: int
) -> SharedSearch | PaperSearch:
    """`search` with nothing left open: `SharedSearch.settled`, by the directions in which images near this one differ.

    They are counted by the effective dimension of 64 particles at noise level 0.2. It is 13 to 23 around handwritten
    digits and chest X-rays, and 39 to 47 around photographs of 32x32 pixels (60 images each, counted by
    `tests/benchmarks/directions.py`). At higher levels the data are harder to tell apart. For a latent model the
    particles are latents.

    It costs 64 denoisings and no query; nothing if the search leaves nothing open.

    Args:
        image: `(C, H, W)` in [0, 1], on the denoiser's device.
        scores: what the black box answers.
        seed: the seed of the particles.
    """
    if isinstance(search, PaperSearch) or not search.left_open:
        return search
    point = denoiser.encode(image[None])[0]
    near = Ensemble(denoiser, point, denoiser.timestep(LEVEL), particles=PARTICLES, seed=seed)
    return search.settled(effective_dimension(near.particles), scores)
