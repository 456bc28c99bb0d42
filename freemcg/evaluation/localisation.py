"""Does a map lie where the truth is known to be? The pointing game, and the mass inside a mask."""

from __future__ import annotations

import torch
from torch import Tensor

from freemcg.messages.errors import InvalidValue


def pointing_game(attributions: Tensor, masks: Tensor) -> Tensor:
    """Whether the most salient pixel lies inside the mask (Zhang et al. 2018, arXiv:1608.00507), `(N,)` in {0, 1}.

    Higher is better, and the mean of random maps is the share of pixels in the mask. If several pixels share the
    maximum, it is the share of them inside, by our choice. Channels are summed.

    Args:
        attributions: `(N, C, H, W)`.
        masks: `(N, H, W)`, true where the object is.

    Raises:
        ValueError: the shapes differ, or a mask is empty.
    """
    maps = _checked(attributions, masks)
    peaks = maps == maps.amax(dim=(1, 2), keepdim=True)
    return (peaks & masks).sum(dim=(1, 2)).double() / peaks.sum(dim=(1, 2))


def mass_inside(attributions: Tensor, masks: Tensor) -> Tensor:
    """The share of a map's positive mass that lies inside the mask, `(N,)` float64 in [0, 1].

    Higher is better. A constant positive map has the share of pixels in the mask. It is the relevance mass accuracy of
    Arras, Osman, Samek 2022 (arXiv:2003.07258). A map whose channels sum to a positive number nowhere has NaN.

    Args:
        attributions: `(N, C, H, W)`. Their channels are summed, and negative sums count as 0.
        masks: `(N, H, W)`, true where the object is.

    Raises:
        ValueError: the shapes differ, or a mask is empty.
    """
    maps = _checked(attributions, masks).clamp(min=0)
    return (maps * masks).sum(dim=(1, 2)) / maps.sum(dim=(1, 2))


def bright_object(images: Tensor) -> Tensor:
    """A mask of the bright object on a dark ground, such as a digit, `(N, H, W)` for images `(N, C, H, W)`.

    It holds the pixels nearer to the brightest one than to the darkest, by the mean over channels; of a plain image,
    all. Where objects are no brighter than their ground, give masks of your own.
    """
    light = images.mean(dim=1)
    low, high = light.amin(dim=(1, 2), keepdim=True), light.amax(dim=(1, 2), keepdim=True)
    return light >= (low + high) / 2


def _checked(attributions: Tensor, masks: Tensor) -> Tensor:
    """The channels' sum of attributions that fit to masks, `(N, H, W)` float64."""
    if masks.dtype != torch.bool or masks.shape != (len(attributions), *attributions.shape[2:]):
        raise InvalidValue(
            f"for attributions {tuple(attributions.shape)} give boolean masks (N, H, W), got {masks.dtype} "
            f"{tuple(masks.shape)}"
        )
    if not masks.flatten(1).any(dim=1).all():
        raise InvalidValue("a mask is empty, so nothing can lie inside it; leave its image out")
    return attributions.double().sum(dim=1)
