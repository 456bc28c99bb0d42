"""What every white-box method shares: the scalar that is explained, its gradient, the checks, the call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

from freemcg.blackbox import BlackBox, check_images
from freemcg.blackbox.classes import class_index, each_target
from freemcg.identity.mode import refuse_training
from freemcg.messages.arguments import whole
from freemcg.messages.errors import InvalidType, InvalidValue
from freemcg.messages.model_call import call_model

OUTPUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "logit": lambda logits: logits,
    "log_probability": lambda logits: logits.log_softmax(dim=1),
    "probability": lambda logits: logits.softmax(dim=1),
}
Target = int | Sequence[int] | Tensor | None
Result = TypeVar("Result")


class WhiteBoxMethod(ABC):
    """An attribution method that differentiates a classifier.

    Args:
        model: maps images `(N, C, H, W)` in [0, 1] to logits `(N, classes)`, in eval mode. It is left as it was
            found: no gradient is stored in its parameters.
        output: the scalar explained for class `t`: `"logit"`, `"log_probability"` or `"probability"`.
        batch_size: the images worked on at a time. It changes memory, not results.
        progress: show a bar over the images.

    Attributes:
        needs_weights: whether the model must be differentiable. It must for every method here.
        needs_manifold: whether the method also needs a model of the images, such as a VAE.
        cost: gradients of the classifier per image, as a formula of the settings.
        least: the fewest gradients with which `within` can do.

    Raises:
        TypeError: `model` can only be queried.
        ValueError: an argument is out of range, or a part of the model is in training mode.
    """

    needs_weights: ClassVar[bool] = True
    needs_manifold: ClassVar[bool] = False
    cost: ClassVar[str]
    least: ClassVar[int] = 1

    @classmethod
    def within(cls, cost: int) -> dict[str, Any]:
        """The settings that spend as much as possible of `cost` gradients an image. None if the cost is fixed."""
        return {"steps": cost}

    def __init__(
        self, model: nn.Module, *, output: str = "logit", batch_size: int = 64, progress: bool = False
    ) -> None:
        if isinstance(model, BlackBox) or not isinstance(model, nn.Module):
            raise InvalidType(
                f"{type(self).__name__} differentiates the model and needs a torch.nn.Module, got "
                f"{type(model).__name__}; a model that can only be queried is explained by freemcg.FreeMCG"
            )
        if output not in OUTPUTS:
            raise InvalidValue(f"output must be one of {', '.join(OUTPUTS)}, got {output!r}")
        self.model = model
        self.output = output
        self.batch_size = whole("batch_size", batch_size, 1)
        self.progress = progress

    def attribute(self, images: Tensor, target: Target = None) -> Tensor:
        """Signed attributions of images `(N, C, H, W)` in [0, 1], same shape.

        Args:
            target: a class for all images, or one per image; `None` explains each image's decision.
        """
        return torch.cat(self._in_batches(self._attribute, images, target))

    @abstractmethod
    def _attribute(self, images: Tensor, targets: Tensor) -> Tensor:
        """Attributions of a batch of `images` for classes `targets` `(N,)`."""

    def value(self, images: Tensor, targets: Tensor) -> Tensor:
        """The scalar explained, `(N,)`."""
        with torch.no_grad():
            return torch.cat([self.scalar(*each) for each in self._batches(images, targets)])

    def gradient(self, images: Tensor, targets: Tensor) -> Tensor:
        """The gradient of the scalar explained with respect to each image, of the shape of `images`."""
        parts = []
        for batch, wanted in self._batches(images, targets):
            leaf = batch.detach().requires_grad_(True)
            with torch.enable_grad():
                (part,) = torch.autograd.grad(self.scalar(leaf, wanted).sum(), leaf)
            parts.append(part)
        return torch.cat(parts)

    def scalar(self, images: Tensor, targets: Tensor) -> Tensor:
        """The scalar explained, `(N,)`, with its graph."""
        scores = OUTPUTS[self.output](self._answer(images))
        return scores.gather(1, targets[:, None])[:, 0]

    def scores(self, images: Tensor) -> Tensor:
        """What the model answers, `(N, classes)`, without a graph."""
        with torch.no_grad():
            return torch.cat([self._answer(batch) for batch in images.split(self.batch_size)])

    def _answer(self, images: Tensor) -> Tensor:
        """What the model answers, in the precision of the images. The model gets them in its own."""
        first = next((each for each in self.model.parameters() if each.is_floating_point()), images)
        answer: Tensor = call_model(self.model, images.to(first.dtype))
        return answer.to(images)

    def _check(self, images: Tensor) -> None:  # noqa: B027  (most methods take any images)
        """Refuse images that do not fit the settings, before the model is called."""

    def _in_batches(self, work: Callable[[Tensor, Tensor], Result], images: Tensor, target: Target) -> list[Result]:
        """Check the input, then call `work(images, targets)` on one batch at a time."""
        check_images(images)
        self._check(images)
        refuse_training(self.model, "model")
        images = images.detach()
        targets = self._targets(images, target)
        results = []
        with tqdm(total=len(images), desc=type(self).__name__, unit="image", disable=not self.progress) as bar:
            for batch, wanted in self._batches(images, targets):
                results.append(work(batch, wanted))
                bar.update(len(batch))
        return results

    def _batches(self, images: Tensor, targets: Tensor) -> list[tuple[Tensor, Tensor]]:
        return list(zip(images.split(self.batch_size), targets.split(self.batch_size), strict=True))

    def _targets(self, images: Tensor, target: Target) -> Tensor:
        """Classes `(N,)`. This evaluates the model once on each image."""
        wanted = [] if target is None else [class_index(each, None, None) for each in each_target(target, len(images))]
        scores = self.scores(images)
        if scores.ndim != 2 or len(scores) != len(images):
            raise InvalidValue(
                f"the model must answer logits ({len(images)}, classes), got shape {tuple(scores.shape)}"
            )
        if not scores.isfinite().all():
            raise InvalidValue("the model answered NaN or infinity; it must answer finite logits")
        if target is None:
            return scores.argmax(dim=1)
        for each in wanted:
            class_index(each, None, scores.shape[1])
        return torch.tensor(wanted, device=images.device)
