"""What a server's reply says about each image, whatever shape it has: rows of scores, or labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freemcg.refusal import InvalidValue

Rows = NDArray[np.float64]
LONGEST_LABEL = 60


def read_json(content: bytes) -> Any:
    """The value that a body holds.

    Raises:
        ValueError: it is not JSON.
    """
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise InvalidValue("not JSON") from None


def read_scores(found: Any, count: int) -> Rows:
    """Rows of numbers, `(count, classes)`; one row may come without a list around it.

    Raises:
        ValueError: another number of rows, rows of unequal length, no numbers, or NaN.
    """
    rows = [found] if count == 1 and _is_list_of(found, int | float) else found
    _check_count(rows, count, "rows")
    if not all(_is_list_of(row, int | float) for row in rows):
        raise InvalidValue("holds no rows of numbers")
    lengths = sorted({len(row) for row in rows})
    if len(lengths) > 1:
        raise InvalidValue(f"holds rows of {lengths[0]} and of {lengths[-1]} numbers")
    scores = np.array(rows, dtype=np.float64)
    if np.isnan(scores).any():
        raise InvalidValue(f"holds NaN for image {int(np.isnan(scores).any(axis=1).argmax())} of {count}")
    return scores


def read_numbers(found: Any, count: int) -> Rows:
    """A number an image, `(count,)`, alone or in a list of one; the number of one image may come without a list.

    Raises:
        ValueError: another number of them, no numbers, or NaN.
    """
    numbers = found if isinstance(found, list) else [found]
    _check_count(numbers, count, "numbers")
    return read_scores([each if isinstance(each, list) else [each] for each in numbers], count)[:, 0]


def read_labelled(found: Any, count: int, class_names: Sequence[str], *, all_classes: bool) -> Rows:
    """Lists of `{"label": ..., "score": ...}` in any order, as `(count, classes)`; NaN for a class that is not listed.

    Args:
        all_classes: every class must be listed.

    Raises:
        ValueError: a label is unknown, listed twice or (where all must be) missing; a score is no finite number.
    """
    lists = [found] if count == 1 and _is_list_of(found, dict) else found
    _check_count(lists, count, "lists of labels")
    rows = np.full((count, len(class_names)), np.nan)
    for row, listed in zip(rows, lists, strict=True):
        if not _is_list_of(listed, dict) or not all({"label", "score"} <= set(each) for each in listed):
            raise InvalidValue("holds no list of labels with scores, {label: ..., score: ...}")
        for each in listed:
            index, score = class_index(each["label"], class_names), each["score"]
            if not isinstance(score, int | float) or not np.isfinite(score):
                raise InvalidValue(f"holds the score {score!r} for class {class_names[index]!r}; it must be a number")
            if not np.isnan(row[index]):
                raise InvalidValue(f"lists class {class_names[index]!r} twice")
            row[index] = score
        if all_classes and np.isnan(row).any():
            missing = class_names[int(np.isnan(row).argmax())]
            raise InvalidValue(f"does not list class {missing!r}; where it lists only some classes, say means: top_k")
    return rows


def read_labels(found: Any, count: int, class_names: Sequence[str]) -> Rows:
    """A class an image, by name or index, as indices `(count,)`; one may come without a list around it.

    Raises:
        ValueError: another number of labels, or an unknown one.
    """
    labels = found if isinstance(found, list) else [found]
    _check_count(labels, count, "labels")
    return np.array([class_index(label, class_names) for label in labels], dtype=np.float64)


def class_index(label: Any, class_names: Sequence[str]) -> int:
    """The class that a label names: by its name, else by its name but for case, space and a full stop, or by index.

    Raises:
        ValueError: there is no such class, or there are several.
    """
    if label in class_names:
        return class_names.index(label)
    if isinstance(label, int) and not isinstance(label, bool) and 0 <= label < len(class_names):
        return label
    alike = [i for i, name in enumerate(class_names) if isinstance(label, str) and _plain(name) == _plain(label)]
    if len(alike) != 1:
        name = str(label)  # whole or not at all: half a secret could not be hidden
        named = f"the class {name!r}" if len(name) <= LONGEST_LABEL else f"a class in {len(name)} characters"
        raise InvalidValue(f"names {named}, which is not among class_names")
    return alike[0]


def _plain(name: str) -> str:
    return name.casefold().strip(" \t\n.\"'`")


def _is_list_of(value: Any, kind: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(isinstance(each, kind) for each in value)


def _check_count(rows: Any, count: int, what: str) -> None:
    if not isinstance(rows, list):
        raise InvalidValue(f"holds no list of {what}")
    if len(rows) != count:
        raise InvalidValue(f"holds {len(rows)} {what} for {count} image{'s' if count > 1 else ''}")
