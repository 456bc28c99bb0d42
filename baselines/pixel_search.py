"""Zeroth-order search in pixel space. It shows what queries alone find, without a model of the images.

The method is antithetic natural evolution strategies (Wierstra et al. 2014). Ilyas et al. 2018 (arXiv:1804.08598) use
it as an attack.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from baselines.counterfactual_method import CounterfactualMethod
from freemcg.blackbox import BlackBox
from freemcg.blackbox.preparation import as_file
from freemcg.diffusion.denoiser import Denoiser
from freemcg.diffusion.noise import particle_noise
from freemcg.gradient.objective import Objective
from freemcg.messages.errors import InvalidValue
from freemcg.tasks.candidates import Candidates

QUERIES = 105


class PixelSearch(CounterfactualMethod):
    """Counterfactuals by black-box ascent on pixels.

    An iteration estimates the gradient from `directions` pairs of images, `x + smoothing * u` and `x - smoothing * u`,
    clipped to [0, 1]. It takes a step of length `step` along it (L2, over all pixels and channels), clips, and queries
    the image reached as an 8-bit file. The search ends once that image is decided as the target with the wanted
    confidence. The answer is the image reached with the largest target probability.

    Args:
        queries: the most that a counterfactual may cost, all queries included.
        directions: the number of pairs in an iteration.
        smoothing: standard deviation of the noise `u`, in pixel values, > 0.
        step: length of a step, > 0.
        black_box, denoiser, objective, confidence, seed: as `CounterfactualMethod`. The denoiser guides nothing.

    The cost is `2 + iterations * (2 * directions + 1)` queries: one for the image, those of the iterations, and one at
    the end. There are at most `(queries - 2) // (2 * directions + 1)` iterations, or fewer if the budget of the black
    box holds fewer. The defaults are our choice: on 32x32 digits with 105 queries they changed the decision most often.
    A step of that length shows as noise; with more queries, a shorter one suffices.
    """

    needs_weights = False
    needs_manifold = False
    cost = "at most queries"

    def __init__(
        self,
        black_box: BlackBox | Callable[[Tensor], Any],
        denoiser: Denoiser,
        *,
        queries: int = QUERIES,
        directions: int = 1,
        smoothing: float = 0.2,
        step: float = 2.0,
        objective: str | Objective = "log_odds",
        confidence: float = 0.99,
        seed: int = 0,
    ) -> None:
        self.most = self.most_of(queries=queries, directions=directions)
        if not smoothing > 0:
            raise InvalidValue(f"smoothing must be > 0, got {smoothing}")
        if not step > 0:
            raise InvalidValue(f"step must be > 0, got {step}")
        super().__init__(black_box, denoiser, objective=objective, confidence=confidence, seed=seed)
        self.queries = queries
        self.directions = directions
        self.smoothing = smoothing
        self.step = step

    @classmethod
    def most_of(cls, *, queries: int = QUERIES, directions: int = 1) -> int:
        """As `CounterfactualMethod.most_of`."""
        if directions < 1:
            raise InvalidValue(f"directions must be >= 1, got {directions}")
        if queries < 2 * directions + 3:
            raise InvalidValue(
                f"queries must be >= {2 * directions + 3}, one iteration at directions={directions}, got {queries}"
            )
        return queries

    def _search(self, image: Tensor, target: int) -> Candidates:
        iterations, short = self._iterations()
        reached, path, probabilities, signal = image, [image[None]], [0.0], False
        for iteration in range(iterations):
            noise = particle_noise(self.seed, "pixel search", iteration, self.directions, tuple(image.shape)).to(image)
            gradient = self._gradient(reached, noise, target)
            signal = signal or bool(gradient.any())
            reached = (reached + self.step * gradient / gradient.norm().clamp(min=1e-12)).clamp(0, 1)
            path.append(as_file(reached)[None])
            answer = self.black_box(path[-1])[0]
            probabilities.append(answer[target].exp().item())
            if int(answer.argmax()) == target and probabilities[-1] >= self.confidence:
                break
        best = max(range(len(path)), key=probabilities.__getitem__)
        return Candidates(
            path[best],
            path[: best + 1],
            exhausted=short,
            no_signal=iterations > 0 and not signal,
        )

    def _iterations(self) -> tuple[int, bool]:
        """The number of iterations that can be paid for, and whether the settings ask for more than that."""
        cost = 2 * self.directions + 1
        wanted = (self.queries - 2) // cost
        remaining = self.black_box.remaining
        affordable = wanted if remaining is None else min(wanted, remaining // cost)
        return affordable, affordable < wanted

    def _gradient(self, image: Tensor, noise: Tensor, target: int) -> Tensor:
        """`mean_i (f(x + s u_i) - f(x - s u_i)) u_i / (2 s)`.

        A black or white pixel moves half as far, so its slope counts half. Undoing this, as `baselines.antithetic`
        does, makes the search worse.
        """
        pairs = torch.cat([image + self.smoothing * noise, image - self.smoothing * noise]).clamp(0, 1)
        above, below = self.objective(self.black_box(pairs), target).chunk(2)
        return torch.einsum("k,kchw->chw", (above - below) / (2 * self.smoothing * len(noise)), noise)

    def _settings(self) -> dict[str, Any]:
        return {
            "queries": self.queries,
            "directions": self.directions,
            "smoothing": self.smoothing,
            "step": self.step,
        }
