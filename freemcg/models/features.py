"""A feature network of the user's: images in, features out, and every answer checked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from freemcg.blackbox import BlackBox
from freemcg.blackbox.asking import Remote
from freemcg.blackbox.preparation import placed
from freemcg.diffusion.denoiser import Denoiser
from freemcg.identity.inside import networks
from freemcg.identity.mode import refuse_training
from freemcg.messages.errors import InvalidType, InvalidValue
from freemcg.messages.model_call import call_model
from freemcg.models.python_file import load_attribute

BATCH_SIZE = 64


class Features:
    """Maps images `(N, C, H, W)` in [0, 1] to features `(N, F)`, float64 on the CPU, without a graph.

    Args:
        network: a callable from such images to `(N, F)` numbers, a tensor or an array. A `torch.nn.Module` gets them
            on its own device and must be in eval mode.
        name: what the user calls it.
        batch_size: the most images in one call.

    Attributes:
        length: F, once something was answered.

    Raises:
        ValueError: a network is in training mode. An answer has another shape, another length than the answers before,
            or holds NaN or infinity. It is raised by the call.
        TypeError: an answer is no numbers. It is raised by the call.
    """

    def __init__(self, network: Callable[[Tensor], Any], name: str, *, batch_size: int = BATCH_SIZE) -> None:
        self.network = network
        self.name = name
        self.batch_size = batch_size
        self.length: int | None = None
        for called, each in networks(network):
            refuse_training(each, called)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """The features of `images`."""
        return torch.cat([self._of(batch) for batch in images.split(self.batch_size)])

    def _of(self, images: Tensor) -> Tensor:
        answer = call_model(self.network, placed(images, self.network).clone())
        try:
            found = answer.detach() if isinstance(answer, Tensor) else torch.as_tensor(np.asarray(answer))
        except (TypeError, ValueError):
            raise InvalidType(
                f"{self.name} answered a {type(answer).__name__}, and must answer {self._wanted}"
            ) from None
        if found.ndim != 2 or len(found) != len(images) or self.length not in (None, found.shape[1]):
            raise InvalidValue(
                f"{self.name} answered {tuple(found.shape)} for {len(images)} images, and must answer {self._wanted}"
            )
        if found.is_complex() or not found.isfinite().all() or not found.shape[1]:
            raise InvalidValue(f"{self.name} answered no finite real numbers, and must answer {self._wanted}")
        self.length = found.shape[1]
        return found.to("cpu", torch.double)

    @property
    def _wanted(self) -> str:
        return f"features (N, {self.length or 'F'}), a tensor or an array with a row for each image"


def load_features(name: str, *, batch_size: int | None = None) -> Features:
    """Load the feature network `file.py:name`. It is not called yet.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: `name` has another form, the file cannot be imported or lacks the name, or a network is in training
            mode.
        TypeError: the object of that name cannot be called with images, or is no feature network.
    """
    path, _, attribute = name.rpartition(":")
    if not path.endswith(".py"):
        raise InvalidValue(f"--features is file.py:name, a callable from images to features, got {name!r}")
    found = load_attribute(Path(path), attribute)
    if isinstance(found, BlackBox | Remote | Denoiser):
        raise InvalidType(f"{name} is a {type(found).__name__}; --features needs a callable from images to features")
    return Features(found, name, batch_size=BATCH_SIZE if batch_size is None else batch_size)
