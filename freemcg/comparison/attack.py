"""The image of a comparison, changed so that Integrated Gradients point elsewhere while the answer stays.

All methods are measured on the same changed image, as in Manifold IG (Zaher et al. 2024, arXiv:2405.09800).
"""

from __future__ import annotations

import torch
from torch import Tensor

from freemcg.blackbox import BlackBox
from freemcg.blackbox.local.white_box import WhiteBox
from freemcg.evaluation.fooling import fool_gradient

STEPS, POINTS = 100, 5


class Attack:
    """Images under attack. The last one is kept, since each method asks for it.

    The map that the attack wants is our choice: the image itself, moved by half its height and width. So there is no
    need of another image.

    Args:
        black_box: holds the network that is differentiated.
    """

    def __init__(self, black_box: BlackBox) -> None:
        self.black_box = black_box
        self._last: tuple[Tensor, Tensor] | None = None

    def __call__(self, image: Tensor, target: Tensor) -> Tensor:
        """The attacked image, for an image `(1, C, H, W)` and its class `(1,)`.

        It costs 505 second derivatives, and no query.

        Raises:
            ValueError: the black box can only be queried.
        """
        if self._last is None or not torch.equal(self._last[0], image):
            wanted = image.roll((image.shape[2] // 2, image.shape[3] // 2), dims=(2, 3))
            network = WhiteBox(self.black_box)
            found = fool_gradient(network, image, target, wanted, steps=STEPS, points=POINTS)
            self._last = image, found
        return self._last[1]
