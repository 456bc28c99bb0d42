"""The class that a class-conditional network is told. It is fixed for a whole explanation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from freemcg.messages.errors import InvalidValue


@dataclass(frozen=True)
class Condition:
    """A class of the diffusion model, which need not be one of the classifier's.

    Attributes:
        condition: the number of the class `c`.
        guidance_scale: the weight `w` of `eps_null + w (eps_c - eps_null)` (Ho, Salimans 2022). With 1 the null class
            does not matter. With any other, an image costs two passes.
        null_class: the number of the class that stands for images of any class; `None` if it is not known.
    """

    condition: int
    guidance_scale: float = 1.0
    null_class: int | None = None

    def __str__(self) -> str:
        if self.guidance_scale == 1:
            return f"class {self.condition}"
        return f"class {self.condition}, guidance {self.guidance_scale:g} from class {self.null_class}"

    def answer(self, ask: Callable[[int], Tensor]) -> Tensor:
        """The guided answer, from the answers of the network to one class and the other."""
        if self.guidance_scale == 1:
            return ask(self.condition)
        assert self.null_class is not None
        null = ask(self.null_class)
        return null + self.guidance_scale * (ask(self.condition) - null)


def condition_for(
    classes: int | None, condition: int | None, guidance_scale: float, null_class: int | None
) -> Condition | None:
    """The condition of a network with so many classes, or with none. Without a class, it is the null class.

    Raises:
        ValueError: a network with classes is told none, or one that it does not have. A network without classes is told
            one. Guidance lacks a null class or another class, or its scale is not finite.
    """
    given = {"condition": condition, "null_class": null_class}
    named = {name: value for name, value in given.items() if value is not None}
    if not math.isfinite(guidance_scale):
        raise InvalidValue(f"guidance_scale must be finite, got {guidance_scale}")
    if classes is None:
        if named or guidance_scale != 1:
            said = [f"{name}={value!r}" for name, value in named.items()] or [f"guidance_scale={guidance_scale}"]
            raise InvalidValue(f"the network of the denoiser takes no class; leave out {' and '.join(said)}")
        return None
    if not named:
        raise InvalidValue(
            f"the network of the denoiser needs a class; give condition (--condition), one of 0..{classes - 1}, "
            "or its null class if it was trained with one"
        )
    for name, value in named.items():
        if not _is_class(value, classes):
            raise InvalidValue(
                f"{name} must be a class of the denoiser's network, one of 0..{classes - 1}, got {value!r}"
            )
    label = next(iter(named.values()))
    if guidance_scale != 1 and (null_class is None or label == null_class):
        raise InvalidValue(
            f"guidance_scale={guidance_scale} leads from the null class to another; give condition and null_class, two "
            "classes of the denoiser's network"
        )
    return Condition(label, guidance_scale, null_class if guidance_scale != 1 else None)


def _is_class(value: Any, classes: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < classes
