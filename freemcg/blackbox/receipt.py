"""Record the questions to a black box and its answers, in order. They suffice to explain again without any query."""

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
    """Images that were queried together.

    Attributes:
        keys: a digest of each image's exact bytes, as the classifier got it.
        answers: the scores of each image as received, float64, by the number of the image. An image has none if the
            budget ended before its answer came.
        charged: the queries that the question cost, retries included. They are fewer than the images if the cache
            answered some.
    """

    keys: tuple[bytes, ...]
    answers: Mapping[int, Tensor]
    charged: int


class Receipt:
    """All questions to a black box, in order; see `BlackBox.recording`. A receipt holds no image.

    Attributes:
        black_box: the identity of the black box, and the arguments that say how it prepares images and reads answers.
        remaining: the queries left in its budget at the start; `None` without a budget.
        questions: the questions so far.
    """

    def __init__(self, black_box: dict[str, Any], remaining: int | None) -> None:
        self.black_box = black_box
        self.remaining = remaining
        self.questions: list[Question] = []

    def add(self, keys: Sequence[bytes], answers: Mapping[int, Tensor], charged: int) -> None:
        """Record a question."""
        self.questions.append(Question(tuple(keys), dict(answers), charged))

    def save(self, path: str | Path) -> Path:
        """Write a `.safetensors` file, whole or not at all.

        It holds `keys` `(Q, 20)` uint8 and `answers` `(Q, S)` float64 of all `Q` images in order, with NaN for images
        without an answer. It also holds `questions` `(N, 2)` int64: the number of images and the cost of each question.
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
        """Read a receipt that `save` wrote.

        Raises:
            FileNotFoundError: there is nothing at `path`.
            ValueError: the file is no receipt, or was damaged.
        """
        path = Path(path)
        tensors, header = load_tensors(path, "receipt")
        if header.get("kind") != KIND:
            raise InvalidValue(f"{path} is no receipt")
        try:
            receipt = cls(**json.loads(header["receipt"]))
            questions, keys, answers = (tensors[name] for name in ("questions", "keys", "answers"))
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise InvalidValue(f"{path} does not hold what a receipt keeps ({error}); make it again") from error
        start = 0
        for count, charged in questions.tolist():
            rows = answers[start : start + count]
            answered = {index: row for index, row in enumerate(rows) if not row.isnan().all()}
            receipt.add([bytes(key.tolist()) for key in keys[start : start + count]], answered, charged)
            start += count
        return receipt
