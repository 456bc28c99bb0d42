"""The classes of known pictures, by the folders in which they lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from freemcg.blackbox import BlackBox
from freemcg.blackbox.classes import class_index
from freemcg.messages.errors import InvalidValue


def labels_of(names: Sequence[str], black_box: BlackBox) -> list[int] | None:
    """The class index of each picture, as `labels_among` finds it among the classes of a black box."""
    return labels_among(names, black_box.class_names, black_box.num_classes)


def labels_among(names: Sequence[str], class_names: Sequence[str] | None, count: int | None) -> list[int] | None:
    """The class index of each picture, if each lies in a folder with the name or the index of a class, else `None`.

    Args:
        names: the path of each picture below the folder of references. Its first part is the class.
        class_names: the names of the classes, if they have names.
        count: the number of classes, if it is known.
    """
    paths = [PurePath(name).parts for name in names]
    if count is None or any(len(parts) == 1 for parts in paths):
        return None
    folders = dict.fromkeys(parts[0] for parts in paths)
    try:
        classes = {folder: _class_of(folder, class_names, count) for folder in folders}
    except InvalidValue:
        return None
    return [classes[parts[0]] for parts in paths]


def _class_of(folder: str, class_names: Sequence[str] | None, count: int) -> int:
    """The class that has this name, else that of this index, as `--target` takes them."""
    is_index = folder.isdecimal() and folder not in (class_names or ())
    return class_index(int(folder) if is_index else folder, class_names, count)


def described(labels: Sequence[int] | None, count: int) -> str:
    """Which of `count` references are asked, as a line of text."""
    if labels is None:
        how = "not each lies in a folder named as a class, so those of any class are asked"
    else:
        how = "each lies in a folder named as its class, so only those of the target are asked"
    return f"references: {count}; {how}, the nearest first"


def check_covered(labels: Sequence[int], target: int | None, black_box: BlackBox) -> None:
    """Refuse a search that may find no picture of its target.

    Args:
        target: the class sought. `None` is the runner-up, which may be any class.

    Raises:
        ValueError: no picture has the target's class, or not every class has one and no target is named.
    """
    names = black_box.class_names or [str(index) for index in range(black_box.num_classes or 0)]
    if target is not None and target not in labels:
        raise InvalidValue(f"--references has no picture of the target, {names[target]}; add a folder of that name")
    lacking = [name for index, name in enumerate(names) if index not in labels]
    if target is None and lacking:
        raise InvalidValue(
            f"--references has no picture of {len(lacking)} of the {len(names)} classes, such as {lacking[0]}, and the "
            "runner-up may be any; add some, or name a --target"
        )
