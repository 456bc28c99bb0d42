"""XRAI (Kapishnikov et al. 2019, arXiv:1906.02825), by saliency, the authors' library."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from baselines.path import integrate, straight_line
from baselines.whitebox import WhiteBoxMethod
from freemcg.messages.arguments import whole
from freemcg.messages.errors import MissingExtra


class XRAI(WhiteBoxMethod):
    """Integrated Gradients from black and from white, added up over regions that look alike.

    The image is cut into overlapping regions at several scales. They are ranked by the mean attribution of what each
    adds to those before it. Every pixel gets the mean of the region that it came with, the same in every channel.
    Regions that would add less than 50 pixels are not ranked, so an image with less has one value.

    Args:
        steps: the gradients from each of the two base-points.
        model, output, batch_size, progress: as `WhiteBoxMethod`.

    Raises:
        ModuleNotFoundError: saliency is not installed.
    """

    cost = "2 * steps"
    least = 2

    def __init__(
        self,
        model: nn.Module,
        *,
        steps: int = 50,
        output: str = "logit",
        batch_size: int = 64,
        progress: bool = False,
    ) -> None:
        super().__init__(model, output=output, batch_size=batch_size, progress=progress)
        self.steps = whole("steps", steps, 1)
        try:
            self._saliency: Any = import_module("saliency.core")
        except ModuleNotFoundError as error:
            raise MissingExtra("XRAI is saliency's and needs it: pip install 'freemcg[compare]'") from error

    @classmethod
    def within(cls, cost: int) -> dict[str, Any]:
        """See `WhiteBoxMethod.within`."""
        return {"steps": cost // 2}

    def _attribute(self, images: Tensor, targets: Tensor) -> Tensor:
        bases = torch.zeros_like(images), torch.ones_like(images)
        paths = [straight_line(base, images, self.steps) for base in bases]
        each = [integrate(path, lambda points: self.gradient(points, targets)) for path in paths]
        values = torch.stack(each).mean(dim=0)
        maps = [self._over_regions(*each) for each in zip(_as_array(images), _as_array(values), strict=True)]
        found = torch.from_numpy(np.stack(maps)).to(images)
        return found[:, None].expand_as(images).clone()

    def _over_regions(self, image: np.ndarray[Any, Any], values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        whole_image = [np.ones(image.shape[:2], dtype=bool)] if image.min() == image.max() else None
        found: np.ndarray[Any, Any] = self._saliency.XRAI().GetMask(
            image, None, segments=whole_image, base_attribution=values
        )
        return found


def _as_array(images: Tensor) -> np.ndarray[Any, Any]:
    """Images `(N, C, H, W)` as `(N, H, W, 3)`, which the segmentation wants."""
    array: np.ndarray[Any, Any] = images.movedim(1, -1).expand(-1, -1, -1, 3).detach().cpu().numpy()
    return array
