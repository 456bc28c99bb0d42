"""Refusals where no denoiser is named, and that of the bundled digits would not fit what is explained."""

from __future__ import annotations

from pathlib import Path

from freemcg.commands.options import DIGITS, Prior
from freemcg.messages.errors import InvalidValue


def refuse_for_model(prior: Prior, model: str) -> None:
    """Refuse to compare with the denoiser of digits on pictures that another model than theirs explains.

    Raises:
        ValueError: no denoiser is named, and `model` is none of the bundled digits.
    """
    if prior.denoiser is None and model not in (DIGITS, f"{DIGITS}-judge"):
        raise InvalidValue(
            f"--model {model} is none of the bundled digits, so it needs --denoiser: a diffusion model of such "
            "pictures, as a folder, a repository on the hub, or the bundled digits, chest-xrays or cifar10"
        )


def refuse_for_colour(prior: Prior, picture: Path) -> None:
    """Refuse to explain a `picture` in colour with the denoiser of digits, which are grey.

    Raises:
        ValueError: no denoiser is named, and the picture is in colour.
    """
    from freemcg.files.images import is_in_colour

    if prior.denoiser is None and is_in_colour(picture):
        raise InvalidValue(
            f"{picture} is in colour, and the diffusion model of digits, which is taken without --denoiser, knows "
            "grey only; name one of such pictures: a folder, a repository on the hub, or the bundled cifar10"
        )
