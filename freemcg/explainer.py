"""The explainer: constructed once with a black box, a denoiser and settings, then called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from freemcg.attribution import attribute_image
from freemcg.blackbox import BlackBox, check_images
from freemcg.counterfactual import find_counterfactual
from freemcg.denoiser import Denoiser
from freemcg.results import Attribution, Counterfactual
from freemcg.settings import PaperSearch, Settings, SharedSearch, make, read_config
from freemcg.version import versions

Target = int | str | Tensor | Sequence[int | str] | None


class FreeMCG:
    """Explain a classifier that can only be queried, with a diffusion model that knows what a realistic image is.

    Derivative-Free Diffusion Manifold-Constrained Gradient (Kim et al., CVPR 2025, arXiv 2411.15265): the particles
    are denoised noisy copies of the image, so they differ along the manifold of realistic images; how the black box's
    answers go with them gives the gradient on that manifold, without any derivative.

    Args:
        black_box: the classifier; what is not a `BlackBox` is wrapped in one, as `BlackBox(classifier)`.
        denoiser: the diffusion model.
        particles: denoised copies drawn for an attribution; costs time, no queries.
        queries: queries of an attribution, beside one for the image itself.
        noise: noise level of the attribution, a fraction of the schedule, or several to average over. Higher asks a
            coarser question.
        estimate: `"sigma_points"`, `"cross_covariance"`, `"regression"` or `"per_particle"`; see `freemcg.ensemble`.
        objective: `"log_odds"`, `"log_probability"`, `"logit"`, `"margin"`, or a callable from log-probabilities
            `(N, num_classes)` and the target to values `(N,)`.
        search: how counterfactuals are sought: `SharedSearch(...)`, `PaperSearch(...)`, or a mapping of their fields.
        seed: of all noise. The same seed gives the same result, whatever the batch size or the number of processes.
        progress: show a bar over the images.

    Raises:
        ValueError: a setting is out of range; the message names it.
    """

    def __init__(
        self,
        black_box: BlackBox | Callable[[Tensor], Any],
        denoiser: Denoiser,
        *,
        particles: int = 256,
        queries: int = 64,
        noise: float | Sequence[float] = 0.2,
        estimate: str = "sigma_points",
        objective: str | Callable[[Tensor, int], Tensor] = "log_odds",
        search: SharedSearch | PaperSearch | dict[str, Any] | None = None,
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        values = {
            "particles": particles,
            "queries": queries,
            "noise": noise,
            "estimate": estimate,
            "objective": objective,
            "search": SharedSearch() if search is None else search,
            "seed": seed,
        }
        self.settings = make(Settings, values)
        if estimate != "sigma_points" and queries > particles:
            raise ValueError(f"queries must be <= particles ({particles}) for estimate {estimate!r}, got {queries}")
        self.black_box = black_box if isinstance(black_box, BlackBox) else BlackBox(black_box)
        self.denoiser = denoiser
        self.progress = progress

    @classmethod
    def paper(cls, black_box: BlackBox | Callable[[Tensor], Any], denoiser: Denoiser, *, seed: int = 0) -> FreeMCG:
        """The procedure and the numbers of the paper: 101 queries an attribution, 9,902 a counterfactual."""
        return cls(black_box, denoiser, seed=seed, **read_config("paper")[0])

    def attribute(self, images: Tensor, target: Target = None) -> Tensor:
        """Attributions of a batch, in the manner of Captum.

        Args:
            images: `(N, C, H, W)` in [0, 1].
            target: class index or name, for all or one an image; `None` explains each decision made.

        Returns:
            Signed attributions, `(N, C, H, W)`. Each is what `explain` answers for that image alone.

        Costs `1 + queries` queries an image.
        """
        self._check(images)
        targets = self._targets(target, len(images))
        bar = tqdm(images, desc="attributions", disable=not self.progress)
        return torch.stack([self.explain(image, each).values for image, each in zip(bar, targets, strict=True)])

    def explain(self, image: Tensor, target: int | str | None = None) -> Attribution:
        """Attribution of one image `(C, H, W)` or `(1, C, H, W)`, with its standard error, cost and status."""
        prepared = self._one(image, target)
        result = attribute_image(self.black_box, self.denoiser, prepared, target, self.settings)
        return replace(result.to(image.device), record=self._record())

    def counterfactual(self, image: Tensor, target: int | str | None = None) -> Counterfactual:
        """A realistic image close to `image` `(C, H, W)` that is decided as `target`; `None` takes the runner-up.

        Costs, with the default search, one query for the image, 12 for each of 8 gradients, and 8 at the end.
        """
        prepared = self._one(image, target)
        result = find_counterfactual(self.black_box, self.denoiser, prepared, target, self.settings)
        return replace(result.to(image.device), record=self._record())

    def _one(self, image: Tensor, target: int | str | None) -> Tensor:
        """One checked image `(C, H, W)`, where the denoiser is."""
        batch = image[None] if isinstance(image, Tensor) and image.ndim == 3 else image
        self._check(batch)
        if len(batch) != 1:
            raise ValueError(f"one image at a time, (C, H, W), got {tuple(image.shape)}; attribute() takes a batch")
        if target is not None:
            self.black_box.class_index(target)
        return batch[0].detach().to(self.denoiser.device, torch.float32)

    def _check(self, images: Tensor) -> None:
        check_images(images)
        self.denoiser.check_size(images)

    def _targets(self, target: Target, count: int) -> list[int | str | None]:
        if isinstance(target, Tensor):
            target = target.reshape(-1).tolist()
        if target is None or isinstance(target, int | str):
            return [target] * count
        if len(target) != count:
            raise ValueError(f"there are {count} images but {len(target)} targets")
        for each in target:
            self.black_box.class_index(each)
        return list(target)

    def _record(self) -> dict[str, Any]:
        return {
            "settings": self.settings.record(),
            "black_box": self.black_box.identity,
            "scores": self.black_box.scores,
            "class_names": None if self.black_box.class_names is None else list(self.black_box.class_names),
            "denoiser": self.denoiser.name,
            "denoiser_identity": self.denoiser.identity,
            "versions": versions(),
        }
