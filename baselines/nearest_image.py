"""The nearest known image of the target class. It shows what a counterfactual costs that explains nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from baselines.counterfactual_method import CounterfactualMethod
from freemcg.blackbox import BlackBox, check_images
from freemcg.blackbox.preparation import as_file
from freemcg.diffusion.denoiser import Denoiser
from freemcg.messages.arguments import whole
from freemcg.messages.errors import InvalidValue
from freemcg.results import Counterfactual
from freemcg.tasks.candidates import Candidates

QUERIES = 50


class NearestImage(CounterfactualMethod):
    """The nearest (L1) of given images that the black box decides as the target, and as sure as wanted.

    The answer is realistic, since it is a real image, but it shows another thing and not a change of this one. The
    images are queried one after another, the nearest first, until one is decided as the target with the wanted
    confidence. If none is, the answer is the most probable of those decided as the target, or else of all queried.

    Args:
        images: those to choose from, such as training images, `(M, C, H, W)` in [0, 1].
        labels: their class indices, `(M,)`. Then only images with the target's label are queried. Without labels, all
            images are, so it may take many queries to come to one of the target.
        queries: the most that a counterfactual may cost, the query about the image itself included. It costs no more
            than one, and one for each image of the class with most images.
        black_box, denoiser, confidence, seed: as `CounterfactualMethod`. The denoiser guides nothing.

    Raises:
        ValueError: there is not one label an image.
    """

    needs_weights = False
    needs_manifold = False
    cost = "at most queries"

    def __init__(
        self,
        black_box: BlackBox | Callable[[Tensor], Any],
        denoiser: Denoiser,
        *,
        images: Tensor,
        labels: Tensor | Sequence[int] | None = None,
        queries: int = QUERIES,
        confidence: float = 0.99,
        seed: int = 0,
    ) -> None:
        super().__init__(black_box, denoiser, confidence=confidence, seed=seed)
        check_images(images)
        denoiser.check_size(images)
        self.images = as_file(images.detach().to(denoiser.device, torch.float32))
        self.labels = None if labels is None else torch.as_tensor(labels).to(denoiser.device)
        if self.labels is not None and self.labels.shape != (len(images),):
            raise InvalidValue(f"labels must be one an image, {len(images)}, got shape {tuple(self.labels.shape)}")
        self.queries = whole("queries", queries, 2)
        self.most = self.most_of(queries=queries, images=len(images), labels=labels)

    @classmethod
    def most_of(cls, *, images: int, labels: Tensor | Sequence[int] | None = None, queries: int = QUERIES) -> int:
        """As `CounterfactualMethod.most_of`. `images` is their number."""
        of_a_class = images if labels is None else int(torch.as_tensor(labels).unique(return_counts=True)[1].max())
        return min(whole("queries", queries, 2), 1 + of_a_class)

    def counterfactual(self, image: Tensor, target: int | str | None = None) -> Counterfactual:
        """As `CounterfactualMethod`. A named target that no label has is refused before the first query.

        Raises:
            ValueError: no image has the label of the target.
        """
        if target is not None:
            self._known(self.black_box.class_index(target))
        return super().counterfactual(image, target)

    def _known(self, target: int) -> Tensor:
        known = self.images if self.labels is None else self.images[self.labels == target]
        if not len(known):
            raise InvalidValue(f"no image has the label {target}; add images of that class")
        return known

    def _search(self, image: Tensor, target: int) -> Candidates:
        known = self._known(target)
        near = (known - image).abs().flatten(1).mean(dim=1).argsort(stable=True)[: self._checks]
        found = known[near]
        return Candidates(found, [image.expand_as(found), found])

    @property
    def _checks(self) -> int:
        return self.queries - 1

    def _settings(self) -> dict[str, Any]:
        return {"queries": self.queries, "images": len(self.images), "labels": self.labels is not None}
