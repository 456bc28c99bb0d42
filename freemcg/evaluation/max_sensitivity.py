"""Max-sensitivity (Yeh et al. 2019, arXiv:1901.09392): how far does a map move when the image hardly does?"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from freemcg.blackbox import check_images
from freemcg.diffusion.noise import generator_for
from freemcg.messages.errors import InvalidValue


def max_sensitivity(
    attribute: Callable[[Tensor], Tensor],
    images: Tensor,
    attributions: Tensor,
    *,
    radius: float = 0.02,
    samples: int = 4,
    seed: int = 0,
) -> Tensor:
    """`max |a(x + e) - a(x)| / |a(x)|` over draws of `e`, uniform in [-radius, radius], `(N,)` float64 in [0, inf).

    Lower is better (definition 3.1). Any map that ignores the image, such as a constant one, has 0. It is NaN for a
    map of zeros. The maximum over few draws is below that over all.

    Args:
        attribute: maps images `(N, C, H, W)` to attributions of the same shape, for the same classes.
        images: `(N, C, H, W)` in [0, 1].
        attributions: `attribute(images)`, which is made already.
        radius: the largest change of a pixel. Images stay in [0, 1].
        samples: the number of draws. They are the same for every image and method.

    The cost is `samples` attributions of each image.

    Raises:
        ValueError: the shapes differ, or an argument is out of range.
    """
    check_images(images)
    if attributions.shape != images.shape:
        raise InvalidValue(
            f"attributions must have the shape of images, {tuple(images.shape)}, got {attributions.shape}"
        )
    if samples < 1 or not radius > 0:
        raise InvalidValue(f"max_sensitivity needs samples >= 1 and radius > 0, got {samples} and {radius}")
    before = attributions.double().flatten(1)
    furthest = torch.zeros(len(images), dtype=torch.double, device=before.device)
    for sample in range(samples):
        drawn = torch.rand(images.shape[1:], generator=generator_for(seed, "max-sensitivity", sample)).to(images)
        after = attribute((images + radius * (2 * drawn - 1)).clamp(0, 1)).to(before).flatten(1)
        furthest = torch.maximum(furthest, (after - before).norm(dim=1))
    relative: Tensor = furthest / before.norm(dim=1)
    return relative
