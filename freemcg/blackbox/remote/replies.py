"""Read rows of scores or labels, one per image, from a server's reply. It may have any common shape."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freemcg.messages.errors import InvalidValue

Rows = NDArray[np.float64]
LONGEST_LABEL = 60
PARALLEL = {"label": "score", "labels": "scores", "displayNames": "confidences"}
"""Names of two lists that belong together: the usual ones, those of zero-shot pipelines, and those of Vertex AI."""


def read_json(content: bytes) -> Any:
    """The JSON value in the body of a reply.

    Raises:
        ValueError: it is not JSON, or an object has a name twice, and only one could be read.
    """
    try:
        return json.loads(content, object_pairs_hook=_object)
    except InvalidValue:
        raise
    except (ValueError, RecursionError):
        raise InvalidValue("not JSON") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise InvalidValue("has an object with the same name twice")
    return found


def read_scores(found: Any, count: int) -> Rows:
    """Rows of numbers, `(count, classes)`. A single row may come without a list around it.

    Raises:
        ValueError: there are not `count` rows, rows differ in length, or they hold NaN or anything but numbers.
    """
    rows = [found] if count == 1 and _is_numbers(found) else found
    _check_count(rows, count, "rows")
    if not all(_is_numbers(row) for row in rows):
        raise InvalidValue("holds no rows of numbers")
    lengths = sorted({len(row) for row in rows})
    if len(lengths) > 1:
        raise InvalidValue(f"holds rows of {lengths[0]} and of {lengths[-1]} numbers")
    scores = np.array(rows, dtype=np.float64)
    if np.isnan(scores).any():
        raise InvalidValue(f"holds NaN for image {int(np.isnan(scores).any(axis=1).argmax())} of {count}")
    return scores


def read_numbers(found: Any, count: int) -> Rows:
    """One number per image, `(count,)`, alone or in a list of one. A single number may come without a list around it.

    Raises:
        ValueError: there are not `count` numbers, or one is NaN or no number.
    """
    numbers = found if isinstance(found, list) else [found]
    _check_count(numbers, count, "numbers")
    return read_scores([each if isinstance(each, list) else [each] for each in numbers], count)[:, 0]


def names_classes(found: Any) -> bool:
    """Whether a reply tells the class of a score by name, and not by position."""
    while isinstance(found, list) and found:
        found = found[0]
    return isinstance(found, dict)


def read_labelled(found: Any, count: int, class_names: Sequence[str], *, all_classes: bool) -> Rows:
    """Labels with scores in any order, as `(count, classes)`. A class that is not listed is NaN.

    An image has a list of `{"label": ..., "score": ...}`, a mapping `{label: score}`, or two lists that belong
    together, with the names in `PARALLEL`. A single image may come without a list around it.

    Args:
        found: the part of the reply that holds the labels.
        count: the number of images.
        class_names: the names of the classes, in the order of the columns.
        all_classes: whether every class must be listed.

    Raises:
        ValueError: a label is unknown, listed twice or (with `all_classes`) missing, or a score is no finite number.
    """
    lists = [found] if count == 1 and (isinstance(found, dict) or _is_entries(found)) else found
    _check_count(lists, count, "lists of labels")
    rows = np.full((count, len(class_names)), np.nan)
    for row, listed in zip(rows, lists, strict=True):
        for label, score in _labels_with_scores(listed):
            index = class_index(label, class_names)
            if not _is_number(score) or not np.isfinite(score):
                raise InvalidValue(f"holds the score {score!r} for class {class_names[index]!r}; it must be a number")
            if not np.isnan(row[index]):
                raise InvalidValue(f"lists class {class_names[index]!r} twice")
            row[index] = score
        if all_classes and np.isnan(row).any():
            missing = class_names[int(np.isnan(row).argmax())]
            raise InvalidValue(f"does not list class {missing!r}; if it lists only some classes, say means: top_k")
    return rows


def _labels_with_scores(listed: Any) -> list[tuple[Any, Any]]:
    """The labels and scores that are listed for one image."""
    if _is_entries(listed):
        return [(each["label"], each["score"]) for each in listed]
    if isinstance(listed, dict):
        for labels, scores in PARALLEL.items():
            names, numbers = listed.get(labels), listed.get(scores)
            if isinstance(names, list) and isinstance(numbers, list):
                if len(names) != len(numbers):
                    raise InvalidValue(f"holds {len(names)} {labels} but {len(numbers)} {scores}")
                return list(zip(names, numbers, strict=True))
        if not any(isinstance(score, str | list | dict) for score in listed.values()):
            return list(listed.items())
    raise InvalidValue(
        "holds no labels with scores: a list of {label: ..., score: ...}, a mapping {label: score}, or two lists "
        "{label: [...], score: [...]}"
    )


def _is_entries(listed: Any) -> bool:
    return _is_list_of(listed, dict) and all(
        isinstance(each.get("label"), str | int) and "score" in each for each in listed
    )


def read_labels(found: Any, count: int, class_names: Sequence[str]) -> Rows:
    """One class per image, by name or index, as indices `(count,)`. A single one may come without a list around it.

    Raises:
        ValueError: there are not `count` labels, or a label is unknown.
    """
    labels = found if isinstance(found, list) else [found]
    _check_count(labels, count, "labels")
    return np.array([class_index(label, class_names) for label in labels], dtype=np.float64)


def class_index(label: Any, class_names: Sequence[str]) -> int:
    """The class of a label: by its name, by its index, or by its name without case.

    The last form also ignores spaces, quotes and full stops around the name.

    Raises:
        ValueError: there is no such class, or there are several.
    """
    if class_names.count(label) > 1:
        raise InvalidValue(f"names the class {label!r}, which is {class_names.count(label)} times among class_names")
    if label in class_names:
        return class_names.index(label)
    if isinstance(label, int) and not isinstance(label, bool) and 0 <= label < len(class_names):
        return label
    alike = [i for i, name in enumerate(class_names) if isinstance(label, str) and _plain(name) == _plain(label)]
    if len(alike) != 1:
        name = str(label)  # show it whole or not at all, since half a secret could not be hidden
        named = f"the class {name!r}" if len(name) <= LONGEST_LABEL else f"a class in {len(name)} characters"
        raise InvalidValue(f"names {named}, which is not among class_names")
    return alike[0]


def _plain(name: str) -> str:
    return name.casefold().strip(" \t\n.\"'`")


def _is_number(value: Any) -> bool:
    """Whether a value is a number that a float can hold."""
    return isinstance(value, float) or (type(value) is int and abs(value) <= sys.float_info.max)


def _is_numbers(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(_is_number(each) for each in value)


def _is_list_of(value: Any, kind: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(isinstance(each, kind) for each in value)


def _check_count(rows: Any, count: int, what: str) -> None:
    if not isinstance(rows, list):
        raise InvalidValue(f"holds no list of {what}")
    if len(rows) != count:
        raise InvalidValue(f"holds {len(rows)} {what} for {count} image{'s' if count > 1 else ''}")
