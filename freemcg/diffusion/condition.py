"""What a conditional network is told beside the noisy image. It is fixed for a whole explanation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from torch import Tensor

from freemcg.messages.arguments import real, whole
from freemcg.messages.errors import InvalidValue

Told = TypeVar("Told")


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
        return guided(ask, self.condition, self.null_class, self.guidance_scale)

    @property
    def record(self) -> dict[str, Any]:
        """What a result records, which are also the arguments that load the same denoiser."""
        return asdict(self)


def guided(ask: Callable[[Told], Tensor], told: Told, null: Told | None, weight: float) -> Tensor:
    """`eps_null + w (eps_told - eps_null)`, or the answer to `told` alone if the weight is 1."""
    if weight == 1:
        return ask(told)
    assert null is not None
    without = ask(null)
    return without + weight * (ask(told) - without)


def condition_for(
    classes: int | None, condition: int | None, guidance_scale: float, null_class: int | None, name: str
) -> Condition | None:
    """The condition of a network with so many classes, or with none. Without a class, it is the null class.

    Args:
        name: that of the denoiser, for messages.

    Raises:
        ValueError: a network with classes is told none, or one that it does not have. A network without classes is told
            one. Guidance lacks a null class or another class, or its scale is not in 0..100.
        TypeError: a class is no whole number, or the scale no number.
    """
    given = {"condition": condition, "null_class": null_class}
    named = {argument: whole(argument, value) for argument, value in given.items() if value is not None}
    weight = real("guidance_scale", guidance_scale, 0, 100)
    if classes is None:
        if named or weight != 1:
            said = [f"{argument}={value}" for argument, value in named.items()] or [f"guidance_scale={weight:g}"]
            raise InvalidValue(f"the denoiser {name} takes no class; leave out {' and '.join(said)}")
        return None
    if not named:
        raise InvalidValue(
            f"the denoiser {name} needs a class; give condition (--condition), one of 0..{classes - 1}, or its null "
            "class (--null-class) if it was trained with one"
        )
    for argument, value in named.items():
        if not 0 <= value < classes:
            raise InvalidValue(
                f"{argument} must be a class of the denoiser's network, one of 0..{classes - 1}, got {value}"
            )
    label, null = next(iter(named.values())), named.get("null_class")
    if weight != 1 and null in (None, label):
        raise InvalidValue(
            f"guidance_scale={weight:g} leads from the null class to another; give condition (--condition) and "
            "null_class (--null-class), two classes of the denoiser's network"
        )
    return Condition(label, weight, null if weight != 1 else None)
