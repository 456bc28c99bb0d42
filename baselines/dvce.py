"""DVCE: diffusion visual counterfactuals by a differentiable classifier (Augustin et al. 2022, arXiv:2210.11841).

It is white-box, and guides the ancestral steps of a diffusion. Two gradients have fixed shares of the length of each
step's mean. Of a classifier that is not robust, a robust one can correct the gradient.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from baselines.counted_gradient import counted_gradient, wrap_model
from baselines.counterfactual_method import CounterfactualMethod
from freemcg.blackbox import BlackBox
from freemcg.diffusion.denoiser import Denoiser
from freemcg.diffusion.reverse import Particles, guided_reverse, posterior, reverse_schedule, unit
from freemcg.gradient.objective import Objective
from freemcg.messages.errors import InvalidValue
from freemcg.tasks.candidates import Candidates

STEPS = 100


class DVCE(CounterfactualMethod):
    """Counterfactuals by DVCE, one candidate an image.

    A noisy copy of the image goes through `steps` ancestral steps. The mean `mu` of each, with variance `v`, is moved
    by `v |mu| (guidance c / |c| - distance d / |d|)`. Here `c` is the gradient of the target's log-probability at the
    denoised image, and `d` that of its L1 distance to the input. Both are with respect to the noisy image, and norms
    are L2 over a whole image. Nothing gives back what the denoiser loses, and the candidate is not polished.

    Args:
        model: maps images `(N, C, H, W)` in [0, 1] to logits, in eval mode; it is left as it was found.
        robust: a second classifier of the same classes, trained on attacked images. If it is given, `c` is projected on
            the cone of `degrees` around that one's gradient; see `onto_cone`.
        steps: the steps, >= 2. The paper takes the later 100 of 200.
        strength: noise level of the start, in (0, 1]. The paper's is half of the schedule.
        guidance, distance: the lengths of the two parts, >= 0; in the paper `C_c` and `C_d`.
        degrees: half of the cone's opening, in (0, 90).
        denoiser, objective, confidence, seed: as `CounterfactualMethod`.

    `Counterfactual.queries` counts the images that the classifier evaluated, with or without a gradient: `steps + 1`.
    The robust classifier is not counted. Each step costs two backward passes through the denoiser, or three.
    """

    needs_weights = True
    needs_manifold = True
    cost = "steps - 1 gradients and 2 queries"

    def __init__(
        self,
        model: nn.Module,
        denoiser: Denoiser,
        *,
        robust: nn.Module | None = None,
        steps: int = STEPS,
        strength: float = 0.5,
        guidance: float = 0.1,
        distance: float = 0.15,
        degrees: float = 30.0,
        objective: str | Objective = "log_probability",
        confidence: float = 0.99,
        seed: int = 0,
    ) -> None:
        self.most = self.most_of(steps=steps)
        for name, value in (("guidance", guidance), ("distance", distance)):
            if not 0 <= value < math.inf:
                raise InvalidValue(f"{name} must be >= 0 and finite, got {value}")
        if not 0 < strength <= 1:
            raise InvalidValue(f"strength must be in (0, 1], got {strength}")
        if not 0 < degrees < 90:
            raise InvalidValue(f"degrees must be in (0, 90), got {degrees}")
        black_box = wrap_model(model, type(self).__name__)
        super().__init__(black_box, denoiser, objective=objective, confidence=confidence, seed=seed)
        self.robust = None if robust is None else wrap_model(robust, type(self).__name__)
        self.steps, self.strength, self.guidance, self.distance = steps, strength, guidance, distance
        self.degrees = degrees
        self.schedule = reverse_schedule(denoiser, strength, steps)

    particles = 1
    eta = 1.0
    fidelity = 0.0

    @classmethod
    def most_of(cls, *, steps: int = STEPS) -> int:
        """As `CounterfactualMethod.most_of`."""
        if steps < 2:
            raise InvalidValue(f"steps must be >= 2, got {steps}")
        return steps + 1

    def _search(self, image: Tensor, target: int) -> Candidates:
        denoiser, signal = self.denoiser, False

        def uphill(model: BlackBox, now: Particles, denoised: Tensor) -> Tensor:
            _, _, slopes = counted_gradient(model, self.objective, denoised, target)
            return denoiser.pull_back(now.noisy, now.t, slopes)

        def push(now: Particles) -> Tensor:
            nonlocal signal
            denoised = denoiser.decode(now.points)
            towards = uphill(self.black_box, now, denoised)
            signal = signal or bool(towards.any())
            if self.robust is not None:
                towards = onto_cone(towards, uphill(self.robust, now, denoised), self.degrees)
            away = denoiser.pull_back(now.noisy, now.t, (denoised - image).sign())
            t_next = self.schedule[now.step + 1]
            mean, variance = posterior(denoiser, now.points, now.noise, now.t, t_next)
            move = self.guidance * unit(towards) - self.distance * unit(away)
            abars = denoiser.alphas_cumprod[now.t].item() * denoiser.alphas_cumprod[t_next].item()
            length: Tensor = mean.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
            return variance * length * move / math.sqrt(abars)  # a step multiplies its push by that root

        origin = denoiser.encode(image[None])[0]
        paths = list(guided_reverse(denoiser, origin, self, push, seed=self.seed))
        return Candidates(denoiser.decode(paths[-1]), paths, no_signal=not signal, decode=denoiser.decode)

    def _settings(self) -> dict[str, Any]:
        names = ("steps", "strength", "guidance", "distance", "degrees")
        return {name: getattr(self, name) for name in names} | {"robust": self.robust and self.robust.identity}


def onto_cone(slopes: Tensor, axes: Tensor, degrees: float) -> Tensor:
    """The direction of each of `slopes` `(N, ...)`, turned so that it is at most `degrees` away from its axis.

    A direction within the cone stays as it is. Another is turned in the plane of both, up to the cone's surface. The
    result has length 1. A slope without a direction of its own beside the axis becomes the axis.
    """
    slope, axis = unit(slopes), unit(axes)
    along = (slope * axis).flatten(1).sum(dim=1).reshape(-1, *[1] * (slopes.ndim - 1))
    radians = math.radians(degrees)
    turned = math.cos(radians) * axis + math.sin(radians) * unit(slope - along * axis)
    return unit(torch.where(along >= math.cos(radians), slope, turned))
