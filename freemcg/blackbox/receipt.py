"""What a black box was asked and what it answered, in order: enough to explain again without asking anyone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from freemcg.files.tensors import load_tensors, save_tensors
from freemcg.messages.errors import InvalidValue

KIND = "Receipt"
KEY_BYTES = 20


@dataclass(frozen=True)
class Question:
    """Images that were asked about at once.

    Attributes:
        keys: a digest of each image's exact bytes, as the classifier was handed it.
        answers: by the number of the image, its scores as received, float64; none where the budget ended before.
        charged: queries that it cost, retries included; fewer than images where answers came from the cache.
    """

    keys: tuple[bytes, ...]
    answers: Mapping[int, Tensor]
    charged: int


class Receipt:
    """All questions to a black box, in order; see `BlackBox.recording`. It holds no image.

    Attributes:
        black_box: the arguments of the black box that say how an image is prepared and an answer read; its identity.
        remaining: queries left in its budget at the start; `None` without one.
        questions: those asked so far.
    """

    def __init__(self, black_box: dict[str, Any], remaining: int | None) -> None:
        self.black_box = black_box
        self.remaining = remaining
        self.questions: list[Question] = []

    def add(self, keys: Sequence[bytes], answers: Mapping[int, Tensor], charged: int) -> None:
        """Note a question."""
        self.questions.append(Question(tuple(keys), dict(answers), charged))

    def save(self, path: str | Path) -> Path:
        """Write a `.safetensors` file, whole or not at all.

        It holds `keys` `(Q, 20)` uint8 and `answers` `(Q, S)` float64 of all images in order, NaN for those without an
        answer, and `questions` `(N, 2)` int64, how many images each asked about and what it was charged.
        """
        path = Path(path)
        width = max((len(row) for each in self.questions for row in each.answers.values()), default=0)
        rows = torch.full((sum(len(each.keys) for each in self.questions), width), float("nan"), dtype=torch.float64)
        start = 0
        for each in self.questions:
            for index, row in each.answers.items():
                rows[start + index] = row
            start += len(each.keys)
        keys = b"".join(key for each in self.questions for key in each.keys)
        counts = [[len(each.keys), each.charged] for each in self.questions]
        tensors = {
            "keys": torch.tensor(list(keys), dtype=torch.uint8).reshape(-1, KEY_BYTES),
            "answers": rows,
            "questions": torch.tensor(counts, dtype=torch.int64).reshape(-1, 2),
        }
        header = {"black_box": self.black_box, "remaining": self.remaining}
        save_tensors(tensors, path, {"kind": KIND, "receipt": json.dumps(header)})
        return path

    @classmethod
    def load(cls, path: str | Path) -> Receipt:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: nothing at `path`.
            ValueError: the file is no receipt, or was damaged.
        """
        path = Path(path)
        tensors, header = load_tensors(path, "receipt")
        if header.get("kind") != KIND:
            raise InvalidValue(f"{path} is no receipt")
        receipt = cls(**json.loads(header["receipt"]))
        start = 0
        for count, charged in tensors["questions"].tolist():
            keys = tensors["keys"][start : start + count]
            rows = tensors["answers"][start : start + count]
            answered = {index: row for index, row in enumerate(rows) if not row.isnan().all()}
            receipt.add([bytes(key.tolist()) for key in keys], answered, charged)
            start += count
        return receipt
