"""Guidance by the classifier's true gradient, through the denoiser: what a query method can at best come near to.

Classifier guidance (Dhariwal, Nichol 2021, arXiv:2105.05233) of the denoised image, as in DVCE (Augustin et al. 2022,
arXiv:2210.11841), in the reverse diffusion of `freemcg.search`, so that only the source of the gradient differs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from baselines.counted_gradient import counted_gradient, wrap_model
from baselines.counterfactual_method import CounterfactualMethod
from freemcg.candidates import Candidates
from freemcg.denoiser import Denoiser
from freemcg.objective import Objective
from freemcg.reverse import reverse_schedule, reverse_step, scaled_like
from freemcg.search import HUBER_WIDTH, guidance_factors, polish
from freemcg.seeding import particle_noise
from freemcg.settings import SharedSearch


class DiffusionGuided(CounterfactualMethod):
    """Counterfactuals by white-box diffusion guidance.

    Every particle follows its own gradient of the objective at its denoised image, pulled back through the denoiser to
    the noisy image (the denoiser's vector-Jacobian product: the gradient in the tangent space of the manifold), and is
    not guided on where its objective is past `search.stop`. All else is `freemcg.search.shared_search`.

    Args:
        model: from images `(N, C, H, W)` in [0, 1] to logits, in eval mode; it is left as it was found.
        search: its `budget`, `refresh` and `unpaid` mean nothing here: the gradient is exact, and new at every step.
        denoiser, objective, seed: as `CounterfactualMethod`; the wanted confidence is that of `search`.

    `Counterfactual.queries` counts the images that the classifier evaluated, those with a gradient among them: at most
    `1 + particles * (steps - 1) + particles`, 193 with the defaults. Each gradient also costs a pass back through the
    denoiser.
    """

    needs_weights = True
    needs_manifold = True
    cost = "particles * (steps - 1) gradients and at most particles + 1 queries"

    def __init__(
        self,
        model: nn.Module,
        denoiser: Denoiser,
        *,
        search: SharedSearch | None = None,
        objective: str | Objective = "log_odds",
        seed: int = 0,
    ) -> None:
        self.search = SharedSearch() if search is None else search
        black_box = wrap_model(model, type(self).__name__)
        super().__init__(black_box, denoiser, objective=objective, confidence=self.search.confidence, seed=seed)

    def _search(self, image: Tensor, target: int) -> Candidates:
        denoiser, search = self.denoiser, self.search
        schedule = reverse_schedule(denoiser, search.strength, search.steps)
        start = particle_noise(self.seed, "start", 0, search.particles, tuple(image.shape)).to(image)
        x_t = denoiser.add_noise(image, schedule[0], start)
        guidance = search.guidance * guidance_factors(search.particles, search.spread).to(image)
        paths, signal = [], False
        for step, t in enumerate(schedule):
            images, noise = denoiser.separate(x_t, t)
            paths.append(images)
            if step + 1 == len(schedule):
                break
            push = -scaled_like(((images - image) / HUBER_WIDTH).clamp(-1, 1), noise, search.proximity)
            _, values, slopes = counted_gradient(self.black_box, self.objective, images, target)
            signal = signal or bool(slopes.any())
            sizes = (guidance * (values < search.stop)).reshape(-1, 1, 1, 1)
            push += sizes * scaled_like(denoiser.pull_back(x_t, t, slopes), noise, 1.0)
            x_t = reverse_step(
                denoiser, images, noise, push, t, schedule[step + 1], eta=search.eta, seed=self.seed, step=step
            )
        paths[-1] = polish(denoiser, images, search.polish, seed=self.seed)
        return Candidates(paths[-1], torch.stack(paths), no_signal=not signal)

    @property
    def _checks(self) -> int:
        return self.search.particles

    def _settings(self) -> dict[str, Any]:
        return {"search": self.search.model_dump(mode="json")}
