"""The last queries of a counterfactual: the candidates, as the 8-bit images that would be saved."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from freemcg.blackbox import BlackBox, QueryBudgetExceeded
from freemcg.blackbox.preparation import as_file
from freemcg.diffusion.denoiser import Denoiser
from freemcg.diffusion.particles import draw_particles
from freemcg.results import Status
from freemcg.tasks.candidates import Candidates

COPIES_NOISE = 0.4


@dataclass(frozen=True)
class Checked:
    """A candidate as it was queried, its number among the candidates if it is one, and the answer.

    `chance` is the probability of the target. If copies are wanted, it is the mean over the image and its
    copies. It is `None` if too few queries are left for them. `trimmed` tells how many regions of the change were
    kept, and of how many; see `freemcg.tasks.trimming`.
    """

    image: Tensor
    index: int | None
    log_probabilities: Tensor
    status: Status
    chance: float | None = None
    trimmed: tuple[int, int] | None = None

    @property
    def decision(self) -> int:
        """The most probable class."""
        return int(self.log_probabilities.argmax())


@dataclass(frozen=True)
class Checker:
    """Queries candidates for `target`, one after another. `search_counterfactuals` tells the order and the end."""

    black_box: BlackBox
    denoiser: Denoiser
    target: int
    confidence: float
    copies: int
    seed: int

    def check(self, found: Candidates, image: Tensor, *, n: int, most: int) -> list[Checked]:
        """The first `n` good candidates, else the best one. There is none if the budget ended before any answer.

        It costs at most `most` queries.
        """
        rounded = as_file(found.images)
        likely = torch.ones(len(rounded), dtype=torch.bool) if found.likely is None else found.likely
        left = torch.arange(len(rounded))
        affordable = most if self.black_box.remaining is None else min(most, self.black_box.remaining)
        ended = affordable < min(most, len(rounded))
        good: list[Checked] = []
        rest: list[Checked] = []
        spent = 0
        while spent < affordable and len(left):
            preference = _apart(rounded, image, good) + 2 * likely  # a distance is at most 1
            index = int(left[preference[left].argmax()])
            left = left[left != index]
            try:
                own = rounded[index].clone()  # a result keeps no other candidate alive
                answer, cost = self._ask(own, index, affordable - spent)
            except QueryBudgetExceeded:
                ended = True
                break
            spent += cost
            (good if self.suffices(answer) else rest).append(answer)
            if len(good) == n or answer.chance is None:
                break
        if good or not rest:
            return good
        best = max(rest, key=self.rank)
        if best.decision == self.target:
            return [best]
        unheard = Status.NO_SIGNAL if found.no_signal else Status.NOT_FLIPPED
        status = Status.BUDGET_EXHAUSTED if found.exhausted or ended else unheard
        return [replace(best, status=status)]

    def _ask(self, image: Tensor, index: int, affordable: int) -> tuple[Checked, int]:
        """Query a candidate, and copies of it if it is decided as the target. Return it with its cost in queries."""
        log_probabilities = self.black_box(image[None])[0]
        own = log_probabilities[self.target].exp().item()
        answer = Checked(image, index, log_probabilities, Status.COMPLETE, own)
        if answer.decision != self.target or not self.copies:
            return answer, 1
        cost = 1 + self.copies
        if cost > affordable:
            return replace(answer, chance=None), 1
        level = self.denoiser.timestep(COPIES_NOISE)
        try:
            nearby = self.black_box(draw_particles(self.denoiser, image, level, self.copies, seed=self.seed))
        except QueryBudgetExceeded:
            return replace(answer, chance=None), cost
        return replace(answer, chance=(own + nearby[:, self.target].exp().sum().item()) / cost), cost

    def suffices(self, answer: Checked) -> bool:
        """Whether it is decided as the target with enough confidence."""
        return answer.decision == self.target and (answer.chance or 0) >= self.confidence

    def rank(self, answer: Checked) -> float:
        """The chance of the target, plus 1 if it is also the decision."""
        return (answer.chance or 0) + (answer.decision == self.target)


def _apart(images: Tensor, image: Tensor, good: list[Checked]) -> Tensor:
    """The preference for each image: near the input (L1), or far from the good answers once there are some."""
    if not good:
        return -_distance(images, image).cpu()
    return torch.stack([_distance(images, answer.image) for answer in good]).amin(dim=0).cpu()


def _distance(images: Tensor, image: Tensor) -> Tensor:
    """The mean absolute difference of a pixel to `image`, `(N,)`."""
    return (images - image).abs().flatten(1).mean(dim=1)
