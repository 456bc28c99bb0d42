"""What every attribution method that only queries shares: the checks, the budget, the call."""

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
from freemcg.messages.arguments import whole

Target = int | str | Tensor | Sequence[int | str] | None


class QueryMethod(ABC):
    """An attribution method that only queries the classifier, as `freemcg.FreeMCG` does.

    Args:
        black_box: the classifier. Anything but a `BlackBox` is wrapped in one, as `BlackBox(classifier)`.
        queries: the most queries that an attribution of one image costs. One of them is kept for the decision, in case
            no `target` is given. So the map is the same with and without a target.
        objective: the scalar explained: `"log_odds"`, `"log_probability"`, `"logit"`, `"margin"`, `"probability"`, or a
            callable that maps log-probabilities `(N, num_classes)` and the target to values `(N,)`.
        seed: the seed of all random numbers, which are the same for every image.
        progress: show a bar over the images.

    Attributes:
        needs_weights, needs_manifold: whether the method differentiates the classifier, or needs a model of the images.
        cost: queries per image, as a formula of the settings.
        least: the fewest queries with which `within` can do.

    Raises:
        ValueError: a setting is out of range; the message names it.
    """

    needs_weights: ClassVar[bool] = False
    needs_manifold: ClassVar[bool] = False
    cost: ClassVar[str] = "at most queries"
    fewest: ClassVar[int] = 3
    least: ClassVar[int] = 1

    @classmethod
    def within(cls, cost: int) -> dict[str, Any]:
        """The settings with which an image costs at most `cost` queries, if its target is given."""
        return {"queries": cost + 1}  # one is for the decision, in case the target is not given

    def __init__(
        self,
        black_box: BlackBox | Callable[[Tensor], Any],
        *,
        queries: int,
        objective: str | Objective = "log_odds",
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        queries = whole("queries", queries, self.fewest)
        self.black_box = black_box if isinstance(black_box, BlackBox) else BlackBox(black_box)
        self.queries = queries
        self.objective = objective_function(objective)
        self.seed = whole("seed", seed)
        self.progress = progress

    def attribute(self, images: Tensor, target: Target = None) -> Tensor:
        """Signed attributions of images `(N, C, H, W)` in [0, 1], same shape.

        Args:
            target: a class index or name, for all images or one per image; `None` explains each image's decision.

        Raises:
            QueryBudgetExceeded: the budget of the black box does not hold all images. No query was spent.
        """
        check_images(images)
        targets = self.black_box.class_indices(target, len(images))
        price = len(images) * self._price(tuple(images.shape[1:])) + targets.count(None)
        remaining = self.black_box.remaining
        if remaining is not None and price > remaining:
            raise QueryBudgetExceeded(price, remaining, self.black_box.budget or 0)
        values = []
        for image, each in zip(
            tqdm(images, desc=type(self).__name__, unit="image", disable=not self.progress), targets, strict=True
        ):
            wanted = int(self.black_box(image[None])[0].argmax()) if each is None else each
            values.append(self._attribute(image.detach().float(), wanted))
        return torch.stack(values).to(images)

    @abstractmethod
    def _attribute(self, image: Tensor, target: int) -> Tensor:
        """The attribution of one image `(C, H, W)`. It costs `_price(image.shape)` queries."""

    @abstractmethod
    def _price(self, shape: tuple[int, ...]) -> int:
        """Queries for an image `(C, H, W)`, without the one for the decision; at most `queries - 1`."""

    def _ask(self, images: Tensor, target: int) -> Tensor:
        """The scalar explained, `(N,)`. It costs N queries."""
        return self.objective(self.black_box(images), target)
