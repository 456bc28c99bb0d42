"""Infidelity (Yeh et al. 2019, arXiv:1901.09392): does a map, as a linear function, foretell how the score moves?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from freemcg.blackbox import BlackBox
from freemcg.diffusion.noise import particle_noise
from freemcg.evaluation.saliency import check_maps
from freemcg.gradient.objective import Objective, log_odds
from freemcg.messages.errors import InvalidValue


@dataclass(frozen=True)
class Infidelity:
    """How far a map is from foretelling the score, float64. Lower is better.

    Attributes:
        raw: `E (I . a - d)^2` with the perturbation `I`, the map `a` and the drop `d = f(x) - f(x - I)`, `(N,)` in
            [0, inf). It depends on the units of the map.
        scaled: the same of the map times the one factor that makes it least, `(N,)` in [0, inf).
        unexplained: `scaled` divided by `E d^2`, `(N,)` in [0, 1]. It is 1 for a map of zeros. It is NaN if the score
            never moves.
    """

    raw: Tensor
    scaled: Tensor
    unexplained: Tensor


def infidelity(
    black_box: BlackBox,
    images: Tensor,
    attributions: Tensor,
    targets: Tensor,
    *,
    samples: int = 32,
    noise: float = 0.1,
    objective: Objective = log_odds,
    seed: int = 0,
) -> Infidelity:
    """Perturb images by Gaussian noise and compare how the score moves with what the map foretells (equation 1).

    It asks of a map that it is like a gradient. For a map of contributions, use `sensitivity_n`.

    Args:
        black_box: its answers are read. Give a separate one, so that no method is charged for being measured.
        images: `(N, C, H, W)` in [0, 1].
        attributions: attributions of the same shape.
        targets: the class of each image, `(N,)`.
        samples: the perturbations of each image. They are the same for every image and method.
        noise: their standard deviation. A perturbed image is clipped to [0, 1], and `I` is what is left of the noise.
        objective: the score `f`, read off log-probabilities.

    An image costs `samples + 1` queries.

    Raises:
        ValueError: the shapes differ, an attribution is NaN or infinite, or an argument is out of range.
    """
    check_maps(images, attributions, targets)
    if samples < 1 or not noise > 0:
        raise InvalidValue(f"infidelity needs samples >= 1 and noise > 0, got {samples} and {noise}")
    drawn = noise * particle_noise(seed, "infidelity", 0, samples, tuple(images.shape[1:])).to(images)
    figures = []
    for image, values, target in zip(images, attributions, targets.tolist(), strict=True):
        moved = (image - drawn).clamp(0, 1)
        scores = objective(black_box(torch.cat([image[None], moved])).double(), target)
        foretold = ((image - moved).double() * values.double()).flatten(1).sum(dim=1)
        figures.append(_of(foretold, scores[0] - scores[1:]))
    return Infidelity(*torch.tensor(figures, dtype=torch.double).T)


def _of(foretold: Tensor, drops: Tensor) -> tuple[float, float, float]:
    square, moved = foretold.square().mean(), drops.square().mean()
    product = (foretold * drops).mean()
    raw = square - 2 * product + moved
    explained = product.square() / square if square > 0 else torch.zeros_like(square)
    scaled = (moved - explained).clamp(min=0)
    return raw.item(), scaled.item(), (scaled / moved).item()
