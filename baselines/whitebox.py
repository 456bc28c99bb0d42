"""What every white-box method shares: the scalar that is explained, its gradient, the checks, the call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from freemcg.blackbox import BlackBox, check_images

OUTPUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "logit": lambda logits: logits,
    "log_probability": lambda logits: logits.log_softmax(dim=1),
    "probability": lambda logits: logits.softmax(dim=1),
}


class WhiteBoxMethod(ABC):
    """An attribution method that differentiates a classifier.

    Args:
        model: from images `(N, C, H, W)` in [0, 1] to logits `(N, classes)`, in eval mode. It is left as it was
            found: no gradient is stored in its parameters.
        output: the scalar explained for class `t`: `"logit"`, `"log_probability"` or `"probability"`.
        batch_size: images a pass through the model. Changes memory, not results.

    Raises:
        TypeError: `model` can only be queried.
        ValueError: an argument is out of range, or the model is in training mode.
    """

    def __init__(self, model: nn.Module, *, output: str = "logit", batch_size: int = 64) -> None:
        if isinstance(model, BlackBox) or not isinstance(model, nn.Module):
            raise TypeError(
                f"{type(self).__name__} differentiates the model and needs a torch.nn.Module, got "
                f"{type(model).__name__}; a model that can only be queried is explained by freemcg.FreeMCG"
            )
        if output not in OUTPUTS:
            raise ValueError(f"output must be one of {', '.join(OUTPUTS)}, got {output!r}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be >= 1, got {batch_size}")
        self.model = model
        self.output = output
        self.batch_size = batch_size

    def attribute(self, images: Tensor, target: int | Sequence[int] | Tensor | None = None) -> Tensor:
        """Signed attributions of images `(N, C, H, W)` in [0, 1], same shape.

        Args:
            target: a class for all, or one an image; `None` explains each decision made.
        """
        check_images(images)
        if self.model.training:
            raise ValueError(
                "the model is in training mode, where gradients depend on the batch; call model.eval() first"
            )
        images = images.detach()
        return self._attribute(images, self._targets(images, target))

    @abstractmethod
    def _attribute(self, images: Tensor, targets: Tensor) -> Tensor:
        """Attributions of `images` for classes `targets` `(N,)`."""

    def value(self, images: Tensor, targets: Tensor) -> Tensor:
        """The scalar explained, `(N,)`."""
        with torch.no_grad():
            return torch.cat([self._scalar(*each) for each in self._batches(images, targets)])

    def gradient(self, images: Tensor, targets: Tensor) -> Tensor:
        """Its gradient with respect to each image, of the shape of `images`."""
        parts = []
        for batch, wanted in self._batches(images, targets):
            leaf = batch.detach().requires_grad_(True)
            with torch.enable_grad():
                (part,) = torch.autograd.grad(self._scalar(leaf, wanted).sum(), leaf)
            parts.append(part)
        return torch.cat(parts)

    def _scalar(self, images: Tensor, targets: Tensor) -> Tensor:
        scores = OUTPUTS[self.output](self.model(images))
        return scores.gather(1, targets[:, None])[:, 0]

    def _batches(self, images: Tensor, targets: Tensor) -> list[tuple[Tensor, Tensor]]:
        return list(zip(images.split(self.batch_size), targets.split(self.batch_size), strict=True))

    def _targets(self, images: Tensor, target: int | Sequence[int] | Tensor | None) -> Tensor:
        with torch.no_grad():
            scores = torch.cat([self.model(batch) for batch in images.split(self.batch_size)])
        if target is None:
            return scores.argmax(dim=1)
        targets = torch.as_tensor(target, device=images.device).long().reshape(-1)
        targets = targets.expand(len(images)) if len(targets) == 1 else targets
        if len(targets) != len(images):
            raise ValueError(f"there are {len(images)} images but {len(targets)} targets")
        if targets.min() < 0 or targets.max() >= scores.shape[1]:
            raise ValueError(f"there is no class {target}; classes are 0..{scores.shape[1] - 1}")
        return targets
