"""The counterfactual procedure of Kim et al. 2025 (arXiv 2411.15265), as published. It serves for comparison.

Each particle follows its own term of the cross-covariance, rescaled to 0.2 of the predicted noise whatever its size. A
proximity term pulls it to the input. The answer is the mean of the particles.

The reference program differs from that in the following, so its images are not these to the last digit:

- It stretches the ensemble's contrast before each query, and cuts the particles to 8 bits there.
- It stretches the input and the saved image so that their least value is 0 and their largest 1.
- Its timesteps go from 396 to 0. Here they go from 400 down to 4 by 4, with the paper's numbers. Here the particles are
  made at the timestep at which they are first denoised, and no guidance follows the last denoising.
"""

from __future__ import annotations

from torch import Tensor

from freemcg.blackbox import BlackBox, QueryBudgetExceeded
from freemcg.diffusion.denoiser import Denoiser
from freemcg.diffusion.reverse import Particles, guided_reverse, scaled_like
from freemcg.ensemble import per_particle
from freemcg.gradient.objective import Objective, gradient_in_scores
from freemcg.settings import PaperSearch
from freemcg.tasks.candidates import Candidates


def paper_search(
    black_box: BlackBox,
    denoiser: Denoiser,
    image: Tensor,
    target: int,
    objective: Objective,
    search: PaperSearch,
    *,
    seed: int,
) -> Candidates:
    """Search for a counterfactual of `image` `(C, H, W)`.

    It costs `particles * (steps - 1)` queries (9,900 with the paper's numbers) and `particles * steps` denoisings. If
    the budget ends during the search, the remaining steps have no guidance but the pull to the input.
    """
    exhausted, origin = False, denoiser.encode(image[None])[0]

    def push(now: Particles) -> Tensor:
        nonlocal exhausted
        pull = -scaled_like((now.points - origin).sign(), now.noise, search.proximity)
        if exhausted:
            return pull
        try:
            log_probabilities = black_box(denoiser.decode(now.points))
        except QueryBudgetExceeded:
            exhausted = True
            return pull
        weights = gradient_in_scores(objective, log_probabilities, target)
        terms = per_particle(now.points.flatten(1), log_probabilities, weights).reshape(now.points.shape)
        return pull + scaled_like(terms, now.noise, search.guidance)

    path = [points.mean(dim=0, keepdim=True) for points in guided_reverse(denoiser, origin, search, push, seed=seed)]
    return Candidates(denoiser.decode(path[-1]), path, exhausted=exhausted, decode=denoiser.decode)
