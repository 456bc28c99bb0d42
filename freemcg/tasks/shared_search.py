"""The counterfactual search of this package. A few particles share one gradient from a few well-placed queries."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from einops import reduce
from torch import Tensor

from freemcg.blackbox import BlackBox, QueryBudgetExceeded
from freemcg.diffusion.denoiser import Denoiser
from freemcg.diffusion.noise import particle_noise
from freemcg.diffusion.reverse import Particles, guided_reverse, pull_to, scaled_like, unit
from freemcg.gradient.estimator import Ensemble, ManifoldGradient
from freemcg.gradient.objective import Objective
from freemcg.settings import SharedSearch
from freemcg.tasks.candidates import Candidates

POLISH_DRAWS = 4


def shared_search(
    black_box: BlackBox,
    denoiser: Denoiser,
    image: Tensor,
    target: int,
    objective: Objective,
    search: SharedSearch,
    *,
    seed: int,
    begun: Tensor | None = None,
) -> Candidates:
    """Guide particles from noisy copies of `image` `(C, H, W)` to realistic images of class `target`.

    With the trail `begun` `(S, C, H, W)` of an earlier candidate, noisy copies of its last point are guided instead, so
    the search goes on from there. They are still pulled to `image`.

    `SharedGradient` guides them. At the end, `polish` puts each particle back on the manifold. The mean of the
    particles is polished too, and is one more candidate.

    It costs `gradients * queries_per_gradient` queries, and these denoisings:
    `particles * steps + drawn * gradients + 4 * (particles + 1)`.
    Here `drawn` is `unpaid`, or the number of particles queried for a gradient if that is larger. With a `fidelity`,
    `particles * steps + 4` denoisings are added for what the input loses. Of a latent model,
    the points queried and the `particles + 1` candidates are decoded, and later the path of the answer.

    The paths of all candidates are kept until their answers tell whose is returned. In float32 that is
    `4 * steps * (particles + 1) * C * H * W` bytes, with `(C, H, W)` of a point: 162 MiB for 24 steps, 8 particles and
    photographs of 256x256 pixels. Of several tries, the paths of the best so far and of the last one stay meanwhile.
    """
    origin = denoiser.encode(image[None])[0]
    guide = SharedGradient(black_box, denoiser, origin, target, objective, search, seed)
    steps = guided_reverse(denoiser, origin if begun is None else begun[-1], search, guide, seed=seed)
    paths = [torch.cat([points, points.mean(dim=0, keepdim=True)]) for points in steps]
    found = paths[-1] = polish(denoiser, paths[-1], origin, search, seed=seed)
    return Candidates(
        denoiser.decode(found),
        paths,
        guide.likely(found),
        exhausted=guide.exhausted,
        no_signal=not (guide.signal or guide.exhausted),
        decode=denoiser.decode,
        begun=begun,
    )


@dataclass
class SharedGradient:
    """One estimated gradient guides all particles.

    Every `refresh` steps the manifold gradient is estimated around the mean of the denoised particles, at the noise
    level of that step. Its direction, and `momentum` times the one followed before, both of length 1, are added. All
    particles follow the sum until the next estimate. So what earlier answers told is not lost, and the errors of
    several estimates average out (Polyak 1964, "heavy ball").

    Answers at sigma points also predict each particle's objective, so a particle predicted to be past `stop` is not
    guided. The cross-covariance predicts nothing. For bare labels it is the difference between the particles called the
    target and the others. If all are called the target, it is zero and no longer guides.

    Some particles are guided harder than others, from `guidance / spread` to `guidance * spread`. The guidance that is
    just enough for one image is too little for another, and to try several costs no query.

    Args:
        origin: the point that stands for the input.

    Attributes:
        exhausted: whether the budget ended before the search did.
        signal: whether the black box ever answered differently for different points.
        local: the newest gradient.
        direction: what the particles follow, `(1, C, H, W)` of length 1.
    """

    black_box: BlackBox
    denoiser: Denoiser
    origin: Tensor
    target: int
    objective: Objective
    search: SharedSearch
    seed: int
    exhausted: bool = field(default=False, init=False)
    signal: bool = field(default=False, init=False)
    local: ManifoldGradient | None = field(default=None, init=False)
    direction: Tensor | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Set how hard each particle is guided."""
        factors = guidance_factors(self.search.particles, self.search.spread)
        self.guidance = self.search.guidance * factors.to(self.origin)

    def __call__(self, now: Particles) -> Tensor:
        """The guidance of one step: towards the target, and back to the input."""
        push = pull_to(self.origin, now, self.search.proximity)
        if now.step % self.search.refresh == 0 and not self.exhausted:
            self._estimate(now)
        if self.local is None or self.direction is None or not self.local.has_signal:
            return push
        sizes = self.guidance
        if self.local.model is not None:
            sizes = sizes * (self.local.model(now.points.flatten(1)) < self.search.stop)
        return push + sizes.reshape(-1, 1, 1, 1) * scaled_like(self.direction, now.noise, 1.0)

    def likely(self, points: Tensor) -> Tensor:
        """Whether each of `points` is predicted to be decided as the target, `(N,)`; true if nothing predicts it."""
        if self.local is None or self.local.model is None:
            return torch.ones(len(points), dtype=torch.bool)
        return (self.local.model(points.flatten(1)) > 0).cpu()

    def _estimate(self, now: Particles) -> None:
        """Query, and replace the gradient. If the budget ends meanwhile, it is replaced only if there was none."""
        search, step = self.search, now.step + 1
        ensemble = Ensemble(
            self.denoiser, now.points.mean(dim=0), now.t, particles=search.unpaid, seed=self.seed, step=step
        )
        try:
            ensemble.ask(self.black_box, search.queries_per_gradient, search.estimate)
        except QueryBudgetExceeded:
            self.exhausted = True
        if not self.exhausted or (self.local is None and ensemble.queries > 1):
            self.local = ensemble.gradient(self.objective, self.target, search.estimate)
            if self.local.has_signal:
                self.signal, followed = True, unit(self.local.gradient[None])
                if self.direction is not None:
                    followed = unit(followed + search.momentum * self.direction)
                self.direction = followed


def guidance_factors(count: int, factor: float) -> Tensor:
    """`count` factors in geometric progression from `1 / factor` to `factor`. A single one is 1."""
    return torch.logspace(-1, 1, count, base=factor) if count > 1 else torch.ones(count)


def polish(denoiser: Denoiser, points: Tensor, origin: Tensor, search: SharedSearch, *, seed: int) -> Tensor:
    """Replace each point by the mean of 4 denoised copies with little noise. This removes what is off the manifold.

    The share `search.fidelity` of what the input `origin` `(C, H, W)` loses in this way is given back to each point.
    """
    t = denoiser.timestep(search.polish)
    noise = particle_noise(seed, "polish", 0, POLISH_DRAWS, tuple(origin.shape)).to(origin)

    def denoised(points: Tensor) -> Tensor:
        copies = torch.cat([denoiser.add_noise(point, t, noise) for point in points])
        return reduce(denoiser.denoise(copies, t), "(n draws) c h w -> n c h w", "mean", draws=POLISH_DRAWS)

    found = denoised(points)
    if search.fidelity:
        found = denoiser.space.within(found + search.fidelity * (origin - denoised(origin[None])))
    return found
