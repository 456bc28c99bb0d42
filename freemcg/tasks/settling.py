"""The values that nobody named follow from the image, before the first query."""

from __future__ import annotations

from torch import Tensor

from freemcg.diffusion.denoiser import Denoiser
from freemcg.gradient.directions import directions_around
from freemcg.settings import PaperSearch, Settings, SharedSearch


def settled_search(
    search: SharedSearch | PaperSearch, denoiser: Denoiser, image: Tensor, scores: str, *, seed: int
) -> SharedSearch | PaperSearch:
    """`search` with nothing left open: `SharedSearch.settled`, by the directions in which images near this one differ.

    It costs 64 denoisings and no query; nothing if the search leaves nothing open. See `directions_around`.

    Args:
        image: `(C, H, W)` in [0, 1], on the denoiser's device.
        scores: what the black box answers.
        seed: the seed of the particles.
    """
    if isinstance(search, PaperSearch) or not search.left_open:
        return search
    directions, _ = directions_around(denoiser, denoiser.encode(image[None])[0], seed=seed)
    return search.settled(directions, scores)


def settled(settings: Settings, denoiser: Denoiser, image: Tensor, scores: str) -> Settings:
    """`settings` with nothing left open, neither for a search nor for a map.

    It costs 64 denoisings and no query. The arguments are those of `settled_search`.
    """
    directions, _ = directions_around(denoiser, denoiser.encode(image[None])[0], seed=settings.seed)
    search = settings.search
    if isinstance(search, SharedSearch):
        search = search.settled(directions, scores)
    return settings.settled(directions).model_copy(update={"search": search})
