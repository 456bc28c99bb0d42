"""A planted shortcut: images with a small bright mark whose place gives the class away. Which pixels decide is known.

The mark is a soft disc on a ring near the border, with one place for each class. Its brightness varies, so the images
of one class lie on a manifold that the mark extends by one dimension.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from freemcg.messages.errors import InvalidValue

RADIUS, EDGE, RING = 0.095, 0.02, 0.86  # in half sides of the image
FAINTEST = 0.4
INSIDE = 0.1  # a pixel belongs to the mark if it has at least this share of the mark's brightness


@dataclass(frozen=True)
class Planted:
    """Images with a mark.

    Attributes:
        images: `(N, C, H, W)` in [0, 1].
        masks: `(N, H, W)`, true on the mark.
        places: where the mark is, `(N,)` in 0..classes-1.
    """

    images: Tensor
    masks: Tensor
    places: Tensor


def plant(images: Tensor, labels: Tensor, *, classes: int, tells: bool, seed: int = 0) -> Planted:
    """Put a mark of random brightness, uniform in [0.4, 1], on each of `images` `(N, C, H, W)` in [0, 1].

    Args:
        images: the images; they are left as they are.
        labels: their classes, `(N,)`.
        classes: how many classes, and places, there are.
        tells: whether the place is that of the label. Otherwise it is drawn, so it says nothing about the class.
        seed: the seed of brightness and place. Those of image `k` are the same for any number of images.

    Raises:
        ValueError: a label is not in 0..classes-1, or there is not one for each image.
    """
    if labels.shape != images.shape[:1] or not ((labels >= 0) & (labels < classes)).all():
        raise InvalidValue(f"give {len(images)} labels in 0..{classes - 1}, one for each image")
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.stack([torch.rand(2, generator=generator) for _ in range(len(images))])
    places = labels.long() if tells else (drawn[:, 0] * classes).long()
    brightness = FAINTEST + (1 - FAINTEST) * drawn[:, 1]
    height, width = images.shape[2:]
    disc = mark(places, torch.ones_like(brightness), classes=classes, height=height, width=width)
    shown = (brightness[:, None, None] * disc).to(images)[:, None]
    return Planted(images + shown * (1 - images), disc >= INSIDE, places)


def mark(places: Tensor, brightness: Tensor, *, classes: int, height: int, width: int) -> Tensor:
    """Marks `(N, height, width)` at `places` `(N,)`, differentiable in their `brightness` `(N,)` in [0, 1].

    Place `k` lies in the direction `2 pi k / classes` from the middle, on a square. The edge is a sigmoid.
    """
    angle = places.to(brightness) * (2 * math.pi / classes)
    right, below = angle.cos(), angle.sin()
    onto = RING / torch.maximum(right.abs(), below.abs())
    across, down = (_axis(size, brightness) for size in (width, height))
    distance = (
        (across[None, None, :] - (onto * right)[:, None, None]).square()
        + (down[None, :, None] - (onto * below)[:, None, None]).square()
    ).sqrt()
    return brightness[:, None, None] * torch.sigmoid((RADIUS - distance) / EDGE)


def _axis(size: int, like: Tensor) -> Tensor:
    return (torch.arange(size, dtype=like.dtype, device=like.device) + 0.5) * (2 / size) - 1
