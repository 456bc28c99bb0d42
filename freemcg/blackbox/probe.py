"""Three queries give a first look at a black box: is it queried correctly, and does it repeat its answers?"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from freemcg.blackbox.box import BlackBox
from freemcg.blackbox.likeness import unlike

REPEATS = 1e-4


@dataclass(frozen=True)
class Probe:
    """The findings of three queries.

    Attributes:
        answers: `(3, num_classes)`, for the image, the image again and the other image: probabilities, or values.
        received: `(3, S)`, the numbers as they were received.
        scale: the unit of a difference: 1 for probabilities, the largest value of the first answer for values.
        seconds: the time of each query. The first may include the start of a connection or of the model.
        queries: the cost, retries included.
    """

    answers: Tensor
    received: Tensor
    scale: float
    seconds: tuple[float, ...]
    queries: int

    @property
    def difference(self) -> float:
        """The largest change of a probability, or relative change of a value, between two answers to the same image."""
        first, again, _ = self.answers
        return float((first - again).abs().max()) / self.scale

    @property
    def repeats(self) -> bool:
        """Whether the two answers to the same image agree to 1e-4 in every probability."""
        return self.difference <= REPEATS

    @property
    def sees(self) -> bool:
        """Whether the other image got another answer."""
        first, _, other = self.answers
        return not torch.equal(first, other)


def probe(black_box: BlackBox, image: Tensor, other: Tensor) -> Probe:
    """Query `image` twice and `other` once, both `(C, H, W)` in [0, 1], without any cache.

    This costs 3 queries, and any retries.
    """
    before, answers, seconds = black_box.queries, [], []
    with black_box.without_cache(), black_box.recording() as receipt:
        for each in (image, image, other):
            began = time.monotonic()
            answers.append(black_box(each[None])[0].cpu())
            seconds.append(time.monotonic() - began)
    rows = torch.stack(answers)
    scale = max(float(rows[0].abs().max()), 1e-12) if black_box.answers_values else 1.0
    rows = rows if black_box.answers_values else rows.exp()
    received = torch.stack([question.answers[0] for question in receipt.questions])
    return Probe(rows, received, scale, tuple(seconds), black_box.queries - before)


def describe(black_box: BlackBox, found: Probe, shape: tuple[int, ...]) -> list[str]:
    """The findings of a probe, as lines of text.

    Args:
        black_box: the black box that was probed.
        found: the findings.
        shape: the shape of the queried image, `(C, H, W)`.
    """
    channels = black_box.channels or shape[0]
    height, width = black_box.image_size or shape[1:]
    depth = "8 bits" if black_box.eight_bit else "float32"
    lines = [
        f"model: {black_box.identity}",
        f"sent: {height}x{width} pixels, {'grey' if channels == 1 else 'RGB'}, {depth}",
        f"understood: {black_box.scores} of {black_box.num_classes} classes",
        unlike(black_box.scores, found.received) or f"the numbers look like {black_box.scores}, as declared",
    ]
    for name, row in zip(("image", "again", "other"), found.answers, strict=True):
        best = row.topk(min(3, len(row)))
        names = black_box.class_names or [str(index) for index in range(len(row))]
        said = ", ".join(f"{names[int(i)]} {p:.4f}" for i, p in zip(best.indices, best.values, strict=True))
        lines.append(f"{name}: {said}")
    lines.append("seconds: " + ", ".join(f"{each:.3f}" for each in found.seconds))
    lines.append(f"queries: {found.queries}")
    same = "repeats" if found.repeats else "does NOT repeat"
    lines.append(f"the answer {same}: the largest difference of a probability is {found.difference:.2g}")
    if not found.sees:
        lines.append("the other image got exactly the SAME answer: does the image arrive?")
    return lines
