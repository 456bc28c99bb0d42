"""The results of explanations. They are frozen. They can be saved, loaded without any model, and drawn.

A result is one `.safetensors` file. It holds the tensors, and everything else as JSON in its header under `"result"`.
It is written whole or not at all.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import torch
from torch import Tensor

from freemcg.ensemble import ErrorParts
from freemcg.files.tensors import load_tensors, save_tensors
from freemcg.messages.errors import InvalidValue

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AnyStored = TypeVar("AnyStored", bound="Stored")


class Status(str, Enum):
    """How an explanation ended. It equals, and is written as, its string."""

    COMPLETE = "complete"
    NO_SIGNAL = "no_signal"
    BUDGET_EXHAUSTED = "budget_exhausted"
    NOT_FLIPPED = "not_flipped"
    ALREADY_TARGET = "already_target"
    MODEL_CHANGED = "model_changed"

    __str__ = str.__str__


@dataclass(frozen=True)
class Stored:
    """A frozen dataclass of tensors and plain values that is stored in one `.safetensors` file."""

    def save(self, path: str | Path, beside: Mapping[str, str] | None = None) -> Path:
        """Write the result to `path`, whole or not at all.

        Args:
            beside: digests of the files that belong to it, by name. They are written into the header.
        """
        path = Path(path)
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        tensors = {
            name: value.detach().cpu().clone(memory_format=torch.contiguous_format)  # a file shares no memory
            for name, value in values.items()
            if isinstance(value, Tensor)
        }
        rest = {name: value for name, value in values.items() if not isinstance(value, Tensor)}
        header = {"kind": type(self).__name__, "result": json.dumps(rest)}
        if beside is not None:
            header["beside"] = json.dumps(beside)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_tensors(tensors, path, header)
        return path

    def to(self: AnyStored, device: torch.device) -> AnyStored:
        """The result with all its tensors on one device."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {name: each.to(device) for name, each in values.items() if isinstance(each, Tensor)}
        return replace(self, **moved)

    @classmethod
    def load(cls: type[AnyStored], path: str | Path) -> AnyStored:
        """Read a result that `save` wrote. This needs neither the black box nor the denoiser.

        Raises:
            FileNotFoundError: there is nothing at `path`.
            ValueError: the file is no result, was damaged, or holds a result of another kind.
        """
        return cls._made_of(*load_tensors(Path(path), "result"), path)

    @classmethod
    def _made_of(
        cls: type[AnyStored], tensors: dict[str, Tensor], header: dict[str, str], path: str | Path
    ) -> AnyStored:
        if header.get("kind") != cls.__name__:
            raise InvalidValue(f"{path} holds a {header.get('kind', 'file of another program')}, not a {cls.__name__}")
        values = json.loads(header["result"])
        if "status" in values:
            values["status"] = Status(values["status"])
        return cls(**tensors, **values)


@dataclass(frozen=True)
class Attribution(Stored):
    """Where the black box looks.

    Attributes:
        values: the signed map, `(C, H, W)`: positive where more light raises the objective.
        standard_error: the error of each value, `(C, H, W)`. The true value is that of unlimited queries and
            particles, whatever the seed. The error is infinite if the estimate cannot tell it.
        image: the image explained, `(C, H, W)` in [0, 1].
        log_probabilities: the black box's answer for the image, `(num_classes,)`.
        target: the class explained.
        decision: the class that the black box decides.
        status: `complete`, `no_signal` (every query point got the same answer), `budget_exhausted`, or `model_changed`
            (the image, queried again, got another answer).
        queries: the images that it queried, including those answered from the cache.
        seconds: the time that it took.
        record: the settings, seed, identities and versions that made it. If the model did not repeat itself, it also
            holds the `disagreement` of the answers to the image.
        error_parts: the parts of the squared error, the fields of `freemcg.ensemble.ErrorParts`; `None` if the estimate
            cannot tell them.
    """

    values: Tensor
    standard_error: Tensor
    image: Tensor
    log_probabilities: Tensor
    target: int
    decision: int
    status: Status
    queries: int
    seconds: float
    record: dict[str, Any]
    error_parts: dict[str, Any] | None = None

    @property
    def signal_to_noise(self) -> float:
        """`|values| / |standard_error|` over the whole map: 0 for a map of zeros, infinite for a map without error."""
        signal, noise = self.values.norm().item(), self.standard_error.norm().item()
        return signal / noise if noise > 0 else math.inf if signal > 0 else 0.0

    @property
    def relative_error(self) -> float:
        """`|standard_error| / |values|` over the whole map, which `tolerance` bounds."""
        ratio = self.signal_to_noise
        return math.inf if ratio == 0 else 1 / ratio

    @property
    def reliability(self) -> float:
        """The squared cosine, in [0, 1], with a map of unlimited queries and particles, as the error bars predict it.

        It is `1 - |standard_error|^2 / |values|^2`, the share of the map's square that is not error. Split halves of
        the answers give the same without a formula.
        """
        return max(0.0, 1 - self.relative_error**2)

    def queries_for(self, reliability: float) -> float:
        """A forecast of all queries, for a map with a `reliability` in (0, 1), with the settings of this map.

        It is infinite if the particles are too few, however many of them are queried. Raise `particles` then.

        Raises:
            ValueError: `reliability` is out of range, the estimate has no forecast, or this map is all noise.
        """
        if not 0 < reliability < 1:
            raise InvalidValue(f"reliability must be in (0, 1), got {reliability}")
        if self.error_parts is None or self.reliability == 0:
            raise InvalidValue("this map gives no forecast; explain with more queries and estimate='control_variate'")
        parts = ErrorParts(**self.error_parts)
        signal = self.values.square().sum().item() * self.reliability
        needed = parts.asked_for(signal * (1 / reliability - 1))
        return needed if needed == math.inf else max(1, math.ceil((self.queries - 1) * needed / parts.asked)) + 1

    def significant(self, rate: float = 0.05) -> Tensor:
        """Where the value differs from zero, bool `(C, H, W)`. On average, at most `rate` of these places are false.

        Each value gets a two-sided normal test, by the step-up procedure of Benjamini and Hochberg (1995). The bound
        also holds if the values err together in one direction (Benjamini, Yekutieli 2001).
        """
        ratio = torch.where(self.values == 0, 0.0, self.values.abs() / self.standard_error)
        p_values = torch.special.erfc(ratio.double() / math.sqrt(2)).flatten()
        ordered = p_values.sort().values
        passed = ordered <= rate * torch.arange(1, len(ordered) + 1, device=ordered.device) / len(ordered)
        if not passed.any():
            return torch.zeros_like(self.values, dtype=torch.bool)
        significant: Tensor = p_values <= ordered[passed.nonzero().max()]
        return significant.reshape(self.values.shape)

    def plot(self) -> Figure:
        """A figure of the image and the attribution over it."""
        from freemcg.show.figures import plot_attribution  # noqa: PLC0415  (matplotlib only if something is drawn)

        return plot_attribution(self)


@dataclass(frozen=True)
class Counterfactual(Stored):
    """A realistic image close to the input that the black box decides as the target.

    Attributes:
        image: the answer, `(C, H, W)` in [0, 1], exactly as an 8-bit file holds it.
        original: the input.
        path: the answer's particle at each step, from the noisiest to the last, `(S, C, H, W)`.
        log_probabilities: the black box's answer for `image` itself, `(num_classes,)`.
        original_log_probabilities: the black box's answer for the input.
        target: the class wanted.
        decision: the class that the black box decides for `image`.
        original_decision: the class that it decides for the input.
        l1: the mean absolute change of a pixel.
        l2: the Euclidean norm of the change.
        realism: the denoising error of `image` divided by that of the input. At most 1 is as realistic as the input.
        status: `complete`, `not_flipped`, `no_signal`, `budget_exhausted`, `already_target` or `model_changed`.
        queries: the images that it queried, including those answered from the cache.
        seconds: the time that it took.
        record: the settings, seed, identities and versions that made it. If the model did not repeat itself, it also
            holds the `disagreement` of the answers to the image.
    """

    image: Tensor
    original: Tensor
    path: Tensor
    log_probabilities: Tensor
    original_log_probabilities: Tensor
    target: int
    decision: int
    original_decision: int
    l1: float
    l2: float
    realism: float
    status: Status
    queries: int
    seconds: float
    record: dict[str, Any]

    @property
    def flipped(self) -> bool:
        """Whether the black box decides the answer as the target."""
        return self.decision == self.target

    @property
    def target_probability(self) -> float:
        """The probability of the target that the black box gives the answer."""
        return self.log_probabilities[self.target].exp().item()

    def plot(self) -> Figure:
        """A figure of the input, the counterfactual and their signed difference."""
        from freemcg.show.figures import plot_counterfactual  # noqa: PLC0415

        return plot_counterfactual(self)


Explanation: TypeAlias = Attribution | Counterfactual
"""What a job keeps of an image."""


def load_result(path: str | Path) -> Explanation:
    """Read a saved result of either kind.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: the file is no result, or was damaged.
    """
    return load_with_digests(path)[0]


def load_with_digests(path: str | Path) -> tuple[Explanation, dict[str, str]]:
    """Read a saved result, and the digests of the files beside it. It raises the errors of `load_result`."""
    tensors, header = load_tensors(Path(path), "result")
    kind = Counterfactual if header.get("kind") == Counterfactual.__name__ else Attribution
    return kind._made_of(tensors, header, path), json.loads(header.get("beside", "{}"))
