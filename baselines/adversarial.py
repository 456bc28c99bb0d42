"""The adversarial example: gradient ascent in pixel space (Szegedy et al. 2014, arXiv:1312.6199).

It follows the gradient to the nearest other decision, and seldom changes what a person sees.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from baselines.counted_gradient import counted_gradient, wrap_model
from baselines.counterfactual_method import CounterfactualMethod
from freemcg.blackbox.preparation import as_file
from freemcg.diffusion.denoiser import Denoiser
from freemcg.gradient.objective import Objective
from freemcg.messages.errors import InvalidValue
from freemcg.tasks.candidates import Candidates

STEPS = 200


class Adversarial(CounterfactualMethod):
    """Counterfactuals by white-box gradient ascent on pixels.

    The search starts at the image and takes steps of length `step` (L2, over all pixels and channels) along the
    gradient, clipped to [0, 1]. It ends when the image *as an 8-bit file* is decided as the target with the wanted
    confidence. So the answer is the first such image on the path, to within one step. The gradient is computed at the
    rounded image, but the path itself is not rounded.

    Args:
        model: maps images `(N, C, H, W)` in [0, 1] to logits, in eval mode; it is left as it was found.
        step: length of a step, > 0. The default is our choice: 0.1 is a tenth of one pixel's range.
        steps: the most steps taken.
        denoiser, objective, confidence, seed: as `CounterfactualMethod`.

    `Counterfactual.queries` counts the images that the classifier evaluated, with or without a gradient. They are the
    steps taken plus 3, so at most `steps + 3`.
    """

    needs_weights = True
    needs_manifold = False
    cost = "at most steps + 1 gradients and 2 queries"

    def __init__(
        self,
        model: nn.Module,
        denoiser: Denoiser,
        *,
        step: float = 0.1,
        steps: int = STEPS,
        objective: str | Objective = "log_odds",
        confidence: float = 0.99,
        seed: int = 0,
    ) -> None:
        if not step > 0:
            raise InvalidValue(f"step must be > 0, got {step}")
        self.most = self.most_of(steps=steps)
        black_box = wrap_model(model, type(self).__name__)
        super().__init__(black_box, denoiser, objective=objective, confidence=confidence, seed=seed)
        self.step = step
        self.steps = steps

    @classmethod
    def most_of(cls, *, steps: int = STEPS) -> int:
        """As `CounterfactualMethod.most_of`."""
        if steps < 1:
            raise InvalidValue(f"steps must be >= 1, got {steps}")
        return steps + 3

    def _search(self, image: Tensor, target: int) -> Candidates:
        reached, path, signal = image, [], False
        for _ in range(self.steps + 1):
            path.append(as_file(reached)[None])
            answers, _, slopes = counted_gradient(self.black_box, self.objective, path[-1], target)
            signal = signal or bool(slopes.any())
            if answers[0].argmax() == target and answers[0, target].exp() >= self.confidence:
                break
            reached = (reached + self.step * slopes[0] / slopes.norm().clamp(min=1e-12)).clamp(0, 1)
        return Candidates(path[-1], path, no_signal=not signal)

    def _settings(self) -> dict[str, Any]:
        return {"step": self.step, "steps": self.steps}
