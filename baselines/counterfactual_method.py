"""What every counterfactual baseline shares: the checks, the call, the last queries, the record."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from baselines.objectives import objective_function
from freemcg.blackbox import BlackBox, check_images
from freemcg.diffusion.denoiser import Denoiser
from freemcg.gradient.objective import Objective
from freemcg.messages.arguments import whole
from freemcg.messages.errors import InvalidValue
from freemcg.results import Counterfactual
from freemcg.tasks.candidates import Candidates
from freemcg.tasks.counterfactual import search_counterfactuals
from freemcg.tasks.record import made_by
from freemcg.tasks.rounds import Round


class CounterfactualMethod(ABC):
    """A search for counterfactuals, called and measured like `freemcg.FreeMCG.counterfactual`.

    Args:
        black_box: the classifier. Anything but a `BlackBox` is wrapped in one, as `BlackBox(classifier)`.
        denoiser: the diffusion model. If the search itself uses none, it only measures how realistic the answer is.
        objective: the scalar that the search raises, as in `baselines.query_method.QueryMethod`.
        confidence: the target probability that the answer should reach, in (0, 1).
        seed: the seed of all noise.

    Attributes:
        needs_weights, needs_manifold: whether the search differentiates the classifier, or uses a model of the images.
        cost: the images that the classifier evaluates for one counterfactual, as a formula of the settings.
        most: the most images that it evaluates for one counterfactual of a given target, without `ask_path`.
        ask_path: whether the path of a counterfactual is queried as well; see `freemcg.tasks.along_path`.

    Raises:
        ValueError: a setting is out of range; the message names it.
    """

    needs_weights: ClassVar[bool]
    needs_manifold: ClassVar[bool]
    cost: ClassVar[str]
    most: int
    ask_path: bool = False

    def __init__(
        self,
        black_box: BlackBox | Callable[[Tensor], Any],
        denoiser: Denoiser,
        *,
        objective: str | Objective = "log_odds",
        confidence: float = 0.99,
        seed: int = 0,
    ) -> None:
        if not 0 < confidence < 1:
            raise InvalidValue(f"confidence must be in (0, 1), got {confidence}")
        self.black_box = black_box if isinstance(black_box, BlackBox) else BlackBox(black_box)
        self.denoiser = denoiser
        self.objective = objective_function(objective)
        self.confidence = confidence
        self.seed = whole("seed", seed)

    def counterfactual(self, image: Tensor, target: int | str | None = None) -> Counterfactual:
        """An image close to `image` `(C, H, W)` or `(1, C, H, W)` that is decided as `target` (`None`: the runner-up).

        Raises:
            QueryBudgetExceeded: not even one query is left, so nothing can be said.
        """
        one = isinstance(image, Tensor) and image.ndim == 3 and image.shape[0] in (1, 3)
        batch = image[None] if one else image
        check_images(batch)
        self.denoiser.check_size(batch)
        if len(batch) != 1:
            raise InvalidValue(f"one image at a time, (C, H, W), got {tuple(image.shape)}")
        prepared = batch[0].detach().to(self.denoiser.device, torch.float32)
        method = self._settled(prepared)
        (result,) = search_counterfactuals(
            [Round(lambda wanted, _: method._search(prepared, wanted), method._checks)],
            self.black_box,
            self.denoiser,
            prepared,
            target,
            confidence=method.confidence,
            ask_path=method.ask_path,
            seed=self.seed,
        )
        record = {
            "method": type(self).__name__,
            "reads_weights": self.needs_weights,
            "drawn_by_image_model": self.needs_manifold,
            **made_by(self.black_box, self.denoiser, method.settings),
        }
        return replace(result.to(image.device), record={**record, **result.record})

    def _settled(self, image: Tensor) -> CounterfactualMethod:
        """This method with all that `image` `(C, H, W)` decides. It asks nothing."""
        return self

    @abstractmethod
    def _search(self, image: Tensor, target: int) -> Candidates:
        """Candidates for `image` `(C, H, W)` and the class `target`, which is not its decision."""

    @property
    def _checks(self) -> int:
        """The most candidates that are queried at the end."""
        return 1

    @classmethod
    @abstractmethod
    def most_of(cls, *args: Any, **settings: Any) -> int:
        """The attribute `most` by those settings of the constructor that decide it. This needs no model.

        Raises:
            ValueError: one is out of range.
        """

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the search that a result records, in a form that JSON can hold."""
        shared = {
            "objective": getattr(self.objective, "__name__", type(self.objective).__name__),
            "confidence": self.confidence,
            "seed": self.seed,
        }
        return {**self._settings(), **shared}

    @abstractmethod
    def _settings(self) -> dict[str, Any]:
        """The settings of this method alone."""
