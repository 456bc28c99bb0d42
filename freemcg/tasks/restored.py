"""What a latent model's autoencoder loses of an image, and whether that alone changes the decision."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from freemcg.blackbox import BlackBox
from freemcg.diffusion.denoiser import Denoiser


@dataclass(frozen=True)
class Seen:
    """An image, the point that stands for it, and the black box's answer for it.

    Attributes:
        point: the image itself, or its latent.
        log_probabilities: the answer, `(num_classes,)`.
        queries: 1, or 2 if the restored image was queried too.
        noted: what a result records: nothing for a model on pixels. Else, as `autoencoder`, the mean absolute change
            `l1` of a pixel from the image to `decode(encode(image))`, and, if that was queried, whether it
            `changes_decision`.
    """

    point: Tensor
    log_probabilities: Tensor
    queries: int = 1
    noted: dict[str, Any] = field(default_factory=dict)


def look(black_box: BlackBox, denoiser: Denoiser, image: Tensor, *, ask_restored: bool) -> Seen:
    """Query `image` `(C, H, W)`, and with `ask_restored` also what the autoencoder of a latent model makes of it.

    An explanation of a latent model is about decoded images. If the decision for the image is lost already by encoding
    and decoding it, the explanation is about another decision.

    It costs one query, or two in one call. The second is left out if the budget has only one left. A latent model also
    costs one pass of the encoder and one of the decoder.

    Raises:
        QueryBudgetExceeded: not even one query is left.
    """
    point = denoiser.encode(image[None])
    if denoiser.space.of_pixels:
        return Seen(point[0], black_box(image[None])[0])
    restored = denoiser.decode(point)[0]
    noted: dict[str, Any] = {"l1": (restored - image).abs().mean().item()}
    both = ask_restored and (black_box.remaining is None or black_box.remaining > 1)
    answers = black_box(torch.stack([image, restored]) if both else image[None])
    if both:
        noted["changes_decision"] = bool(answers[1].argmax() != answers[0].argmax())
    return Seen(point[0], answers[0], len(answers), {"autoencoder": noted})
