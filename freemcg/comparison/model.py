"""The refusal of a model that could make no map, before anything is asked of it."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from freemcg.blackbox import BlackBox
from freemcg.blackbox.classes import class_index
from freemcg.blackbox.local.white_box import WhiteBox
from freemcg.comparison.contestants import Contestant
from freemcg.identity.inside import networks
from freemcg.identity.mode import refuse_training


def check_model(black_box: BlackBox, contestants: Iterable[Contestant], *, target: int | None, image: Tensor) -> None:
    """Refuse a network in training mode, and a class that it does not have. It costs no query.

    If a method differentiates the network, it is called to see how many classes it has. Else its first answer tells.

    Args:
        contestants: the methods.
        target: the class to explain; `None` if each image is asked for its own.
        image: the first image, `(C, H, W)`.

    Raises:
        ValueError: it is so.
    """
    for called, network in networks(black_box.predict):
        refuse_training(network, called)
    opened = [each.model for each in contestants if isinstance(each.model, WhiteBox)]
    if target is not None and black_box.num_classes is None and opened:
        with torch.no_grad():
            classes = opened[0](image[None]).shape[1]
        class_index(target, black_box.class_names, classes)
