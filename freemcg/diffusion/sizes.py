"""Which images a denoiser takes, tried before the first query."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from freemcg.diffusion.weights import first_line
from freemcg.messages.errors import InvalidValue

Size = tuple[int, int]
Denoise = Callable[[Tensor], Tensor]


def check_declared(images: Tensor, name: str, channels: int | None, size: Size | None) -> None:
    """Refuse images `(N, C, H, W)` with other `channels` or of another `size` than a denoiser says that it makes.

    Raises:
        ValueError: the channels or the size differ.
    """
    if channels is not None and images.shape[1] != channels:
        raise InvalidValue(f"images have {images.shape[1]} channels but the denoiser {name} makes {channels}")
    if size is not None and tuple(images.shape[2:]) != size:
        made = f"{size[0]}x{size[1]}"
        raise InvalidValue(
            f"images are {images.shape[2]}x{images.shape[3]} but the denoiser {name} makes {made}; "
            f"resize them to {made}"
        )


def try_size(image: Tensor, name: str, size: Size | None, denoise: Denoise) -> None:
    """Denoise one image `(1, C, H, W)`, so that a network that fails on it shows this before the first query.

    Args:
        size: the size that the denoiser says that it makes.
        denoise: the whole way of an image through the model.

    Raises:
        ValueError: it fails. The message names the nearest sizes that suit a network that halves its input, if any do.
    """
    try:
        _run(denoise, image)
    except (RuntimeError, ValueError) as error:
        raise InvalidValue(
            f"the denoiser {name} fails on images of {image.shape[2]}x{image.shape[3]} "
            f"({first_line(error)}){_sizes_that_fit(image, size, denoise)}"
        ) from error


def _run(denoise: Denoise, image: Tensor) -> None:
    made = denoise(image)
    if made.shape != image.shape:
        raise InvalidValue(f"it makes images of {made.shape[2]}x{made.shape[3]} of them")


def _sizes_that_fit(image: Tensor, size: Size | None, denoise: Denoise) -> str:
    for multiple in (2**halvings for halvings in range(1, 9)):
        below = [max(side // multiple, 1) * multiple for side in image.shape[2:]]
        above = [side + multiple for side in below]
        if _takes(denoise, image, below) and _takes(denoise, image, above):
            sizes = " or ".join(f"{height}x{width}" for height, width in (below, above))
            whose = "resize them to" if size is None else "sample_size in its configuration must be"
            return f"; {whose} a multiple of {multiple}, such as {sizes}"
    return ""


def _takes(denoise: Denoise, image: Tensor, size: list[int]) -> bool:
    try:
        _run(denoise, image.new_zeros(1, image.shape[1], *size))
    except (RuntimeError, ValueError):
        return False
    return True
