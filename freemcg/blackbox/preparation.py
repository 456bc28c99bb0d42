"""Prepare images as a classifier needs them, and refuse anything else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from freemcg.blackbox.mending import looks_like, mending
from freemcg.messages.arguments import plain, whole
from freemcg.messages.errors import InvalidType, InvalidValue

LUMA = (0.299, 0.587, 0.114)


def prepared(
    images: Tensor,
    *,
    channels: int | None,
    image_size: tuple[int, int] | None,
    eight_bit: bool,
    mean: float | Sequence[float] | None,
    std: float | Sequence[float] | None,
) -> Tensor:
    """Prepare images `(N, C, H, W)` in [0, 1]: set channels and size, round, normalise, in this order.

    The arguments are those of `BlackBox`. `None` skips a step. The result is float32.

    Raises:
        ValueError: `mean` and `std` are for another number of channels.
    """
    images = images.float()
    if channels == 3 and images.shape[1] == 1:
        images = images.expand(-1, 3, -1, -1)
    elif channels == 1 and images.shape[1] == 3:
        images = torch.einsum("nchw,c->nhw", images, images.new_tensor(LUMA))[:, None]
    if image_size is not None and images.shape[2:] != image_size:
        images = F.interpolate(images, size=image_size, mode="bilinear", antialias=True, align_corners=False)
        images = images.clamp(0, 1)
    if eight_bit:
        images = as_file(images)
    if mean is not None and std is not None:
        if not isinstance(mean, float) and len(mean) != images.shape[1]:
            raise InvalidValue(f"mean and std have {len(mean)} channels but the images have {images.shape[1]}")
        images = (images - images.new_tensor(mean).reshape(-1, 1, 1)) / images.new_tensor(std).reshape(-1, 1, 1)
    return images


def as_file(images: Tensor) -> Tensor:
    """Images in [0, 1], rounded as an 8-bit file holds them."""
    return (images * 255).round() / 255


def numbers(values: float | Sequence[float] | None) -> float | tuple[float, ...] | None:
    """Plain numbers, one for all channels or one for each. Arrays and tensors are taken too."""
    try:
        found = None if values is None else torch.as_tensor(values, dtype=torch.float64).tolist()
    except (TypeError, ValueError, RuntimeError):
        raise InvalidType(
            f"mean and std must be numbers, one for all or one for each channel, got {values!r}"
        ) from None
    return tuple(found) if isinstance(found, list) else found


def check_preparation(
    channels: int | None, mean: float | tuple[float, ...] | None, std: float | tuple[float, ...] | None
) -> None:
    """Refuse channels other than grey and RGB, and a mean and standard deviation that cannot normalise.

    Raises:
        ValueError: an argument is wrong; the message says which.
    """
    if channels not in (None, 1, 3):
        raise InvalidValue(f"channels must be 1 (grey) or 3 (RGB), got {channels}")
    if (mean is None) != (std is None):
        raise InvalidValue("give both mean and std, or neither")
    if mean is not None and std is not None and not _normalises(mean, std):
        shown = " and ".join(str(list(each) if isinstance(each, tuple) else each) for each in (mean, std))
        raise InvalidValue(f"mean and std need one finite number per channel, std > 0; got {shown}")


def height_and_width(size: int | Sequence[int]) -> tuple[int, int]:
    """A size as `(height, width)`. A single number is the side of a square."""
    given = plain(size)
    try:
        sides = [whole("a side", side) for side in (given if isinstance(given, Sequence) else (given, given))]
    except TypeError:
        sides = []
    if len(sides) != 2 or min(sides) < 1:
        raise InvalidValue(f"image_size must be a side or (height, width), whole numbers from 1 up, got {size!r}")
    return sides[0], sides[1]


def check_images(images: Tensor) -> None:
    """Refuse anything but a batch of images `(N, C, H, W)`, float in [0, 1].

    Raises:
        TypeError: it is not a float tensor.
        ValueError: it has other axes or channels, NaN, or values outside [0, 1]. The message names them.
    """
    if not isinstance(images, Tensor) or not images.is_floating_point():
        raise InvalidType(
            f"images must be a float tensor (N, C, H, W) in [0, 1], got {looks_like(images)}{_hand_over(images)}"
        )
    if images.is_meta or images.layout != torch.strided:
        raise InvalidType("images must hold their values, got a tensor that is sparse or on the device meta")
    if images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape:
        raise InvalidValue(f"images must be (N, C, H, W) with C = 1 or 3, got {looks_like(images)}{_hand_over(images)}")
    if not images.isfinite().all():
        raise InvalidValue("images hold NaN or infinity; they must be in [0, 1]")
    low, high = images.min().item(), images.max().item()
    if low < 0 or high > 1:
        advice = _hand_over(images) or "; rescale them first"
        raise InvalidValue(f"images must be in [0, 1], got values in [{low:.4g}, {high:.4g}]{advice}")


def _hand_over(images: Any) -> str:
    code = mending(images)
    return code and f"; pass {code}"


def _normalises(mean: float | tuple[float, ...], std: float | tuple[float, ...]) -> bool:
    numbers, spreads = torch.tensor(mean), torch.tensor(std)
    finite = bool(numbers.isfinite().all() and spreads.isfinite().all())
    return finite and numbers.shape == spreads.shape and bool((spreads > 0).all())


def placed(images: Tensor, predict: Any) -> Tensor:
    """Images on the device and in the precision of a module's weights. Another callable gets them as they are."""
    weights = predict.parameters() if isinstance(predict, nn.Module) else ()
    first = next((each for each in weights if each.is_floating_point()), None)
    return images if first is None else images.to(first.device, first.dtype)
