"""What every attribution method that only asks shares: the checks, the budget, the call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from tqdm import tqdm

from baselines.objectives import objective_function
from freemcg.blackbox import BlackBox, QueryBudgetExceeded, check_images
from freemcg.gradient.objective import Objective
from freemcg.messages.errors import InvalidValue

Target = int | str | Tensor | Sequence[int | str] | None


class QueryMethod(ABC):
    """An attribution method that only asks the classifier, as `freemcg.FreeMCG` does.

    Args:
        black_box: the classifier; what is not a `BlackBox` is wrapped in one, as `BlackBox(classifier)`.
        queries: the most that an attribution of one image costs. One of them is for the decision, where `target` does
            not name the class, so that a map does not depend on whether it does.
        objective: the scalar explained: `"log_odds"`, `"log_probability"`, `"logit"`, `"margin"`, `"probability"`, or a
            callable from log-probabilities `(N, num_classes)` and the target to values `(N,)`.
        seed: of all random numbers; every image meets the same ones.
        progress: show a bar over the images.

    Attributes:
        needs_weights, needs_manifold: whether the method differentiates the classifier, or needs a model of the images.
        cost: queries an image, as a formula of the settings.

    Raises:
        ValueError: a setting is out of range; the message names it.
    """

    needs_weights: ClassVar[bool] = False
    needs_manifold: ClassVar[bool] = False
    cost: ClassVar[str] = "at most queries"
    fewest: ClassVar[int] = 3

    def __init__(
        self,
        black_box: BlackBox | Callable[[Tensor], Any],
        *,
        queries: int,
        objective: str | Objective = "log_odds",
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        if queries < self.fewest:
            raise InvalidValue(f"queries must be >= {self.fewest}, got {queries}")
        self.black_box = black_box if isinstance(black_box, BlackBox) else BlackBox(black_box)
        self.queries = queries
        self.objective = objective_function(objective)
        self.seed = seed
        self.progress = progress

    def attribute(self, images: Tensor, target: Target = None) -> Tensor:
        """Signed attributions of images `(N, C, H, W)` in [0, 1], same shape.

        Args:
            target: class index or name, for all or one an image; `None` explains each decision made.

        Raises:
            QueryBudgetExceeded: the budget of the black box does not hold all images; nothing was asked.
        """
        check_images(images)
        targets = self._targets(target, len(images))
        price = len(images) * self._price(tuple(images.shape[1:])) + targets.count(None)
        remaining = self.black_box.remaining
        if remaining is not None and price > remaining:
            raise QueryBudgetExceeded(price, remaining, self.black_box.budget or 0)
        values = []
        for image, each in zip(
            tqdm(images, desc=type(self).__name__, unit="image", disable=not self.progress), targets, strict=True
        ):
            wanted = int(self.black_box(image[None])[0].argmax()) if each is None else self.black_box.class_index(each)
            values.append(self._attribute(image.detach().float(), wanted))
        return torch.stack(values).to(images)

    @abstractmethod
    def _attribute(self, image: Tensor, target: int) -> Tensor:
        """Attribution of one image `(C, H, W)`, for `_price(image.shape)` queries."""

    @abstractmethod
    def _price(self, shape: tuple[int, ...]) -> int:
        """Queries for an image `(C, H, W)`, at most `queries - 1`: the decision is not among them."""

    def _ask(self, images: Tensor, target: int) -> Tensor:
        """The scalar explained, `(N,)`. Costs N queries."""
        return self.objective(self.black_box(images), target)

    def _targets(self, target: Target, count: int) -> list[int | str | None]:
        if isinstance(target, Tensor):
            target = target.reshape(-1).tolist()
        if target is None or isinstance(target, int | str):
            target = [target] * count  # type: ignore[list-item]
        if len(target) != count:
            raise InvalidValue(f"there are {count} images but {len(target)} targets")
        for each in target:
            if each is not None:
                self.black_box.class_index(each)
        return list(target)
