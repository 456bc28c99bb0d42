"""Guidance by the classifier's true gradient, through the denoiser: the bound that query methods can approach.

This is classifier guidance (Dhariwal, Nichol 2021, arXiv:2105.05233) of the denoised image, as in DVCE (Augustin et al.
2022, arXiv:2210.11841). The reverse diffusion is that of `freemcg.tasks.shared_search`; only the source of the gradient
differs.
"""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn

from baselines.counted_gradient import counted_gradient, wrap_model
from baselines.counterfactual_method import CounterfactualMethod
from freemcg.diffusion.denoiser import Denoiser
from freemcg.diffusion.reverse import Particles, guided_reverse, pull_to, scaled_like
from freemcg.gradient.directions import directions_around
from freemcg.gradient.objective import Objective
from freemcg.messages.errors import InvalidValue
from freemcg.settings import NARROW, Settings, SharedSearch, make
from freemcg.tasks.candidates import Candidates
from freemcg.tasks.shared_search import guidance_factors, polish


class DiffusionGuided(CounterfactualMethod):
    """Counterfactuals by white-box diffusion guidance.

    Every particle follows its own gradient of the objective at its denoised image. That gradient is pulled back through
    the denoiser to the noisy image. This vector-Jacobian product is the gradient in the tangent space of the manifold.
    A particle is no longer guided once its objective is past `search.stop`. All else is as in
    `freemcg.tasks.shared_search.shared_search`.

    Args:
        model: maps images `(N, C, H, W)` in [0, 1] to logits, in eval mode; it is left as it was found.
        search: the settings of the search, as `freemcg.FreeMCG` takes them: the image decides what a mapping does not
            name, and `SharedSearch(...)` leaves nothing open. `queries`, `refresh`, `unpaid`, `estimate`,
            `momentum`, `rounds` and `trim` have no effect: the gradient is exact and new at every step. So `spread`,
            if nobody names it, is that of a search of one round.
        denoiser, objective, seed: as `CounterfactualMethod`; the wanted confidence is that of `search`.

    `Counterfactual.queries` counts the images that the classifier evaluated, with or without a gradient. There are at
    most `1 + particles * (steps - 1) + particles`, 193 with the defaults. Each gradient also costs a backward pass
    through the denoiser.
    """

    needs_weights = True
    needs_manifold = True
    cost = "particles * (steps - 1) gradients and at most particles + 1 queries"

    def __init__(
        self,
        model: nn.Module,
        denoiser: Denoiser,
        *,
        search: SharedSearch | dict[str, Any] | None = None,
        objective: str | Objective = "log_odds",
        seed: int = 0,
    ) -> None:
        self.search = _shared(search)
        self.most = self.most_of(search=search)
        black_box = wrap_model(model, type(self).__name__)
        super().__init__(black_box, denoiser, objective=objective, confidence=self.search.confidence, seed=seed)

    @classmethod
    def most_of(cls, *, search: SharedSearch | dict[str, Any] | None = None) -> int:
        """As `CounterfactualMethod.most_of`."""
        given = _shared(search)
        return 1 + given.particles * given.steps

    def _settled(self, image: Tensor) -> DiffusionGuided:
        if not self.search.left_open:
            return self
        directions, _ = directions_around(self.denoiser, self.denoiser.encode(image[None])[0], seed=self.seed)
        settled = copy.copy(self)
        search, named = self.search.settled(directions), self.search.named
        settled.search = search if "spread" in named else search.model_copy(update={"spread": NARROW})
        return settled

    def _search(self, image: Tensor, target: int) -> Candidates:
        denoiser, search = self.denoiser, self.search
        origin, signal = denoiser.encode(image[None])[0], False
        guidance = search.guidance * guidance_factors(search.particles, search.spread).to(image)

        def push(now: Particles) -> Tensor:
            nonlocal signal
            _, values, slopes = counted_gradient(self.black_box, self.objective, denoiser.decode(now.points), target)
            signal = signal or bool(slopes.any())
            sizes = (guidance * (values < search.stop)).reshape(-1, 1, 1, 1)
            uphill = scaled_like(denoiser.pull_back(now.noisy, now.t, slopes), now.noise, 1.0)
            return pull_to(origin, now, search.proximity) + sizes * uphill

        paths = list(guided_reverse(denoiser, origin, search, push, seed=self.seed))
        paths[-1] = polish(denoiser, paths[-1], origin, search, seed=self.seed)
        return Candidates(denoiser.decode(paths[-1]), paths, no_signal=not signal, decode=denoiser.decode)

    @property
    def _checks(self) -> int:
        return self.search.particles

    def _settings(self) -> dict[str, Any]:
        return {"search": self.search.model_dump(mode="json")}


def _shared(search: SharedSearch | dict[str, Any] | None) -> SharedSearch:
    given = make(Settings, {"search": {} if search is None else search}).search
    if not isinstance(given, SharedSearch):
        raise InvalidValue(f"DiffusionGuided does the shared search with true gradients, got {given.method!r}")
    return given
