"""Training images packed in one file: Parquet as the `datasets` library writes it, or NumPy arrays."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from freemcg.files.images import decode_bytes
from freemcg.messages.errors import InvalidValue, require

ARRAY_NAMES = (("train_images", "train_labels"), ("images", "labels"))


@dataclass(frozen=True)
class Pictures:
    """Decoded pictures, one after another, with labels `(count,)` int64 if they are known."""

    count: int
    pictures: Callable[[], Iterator[Image.Image]]
    labels: Tensor | None = None
    class_names: tuple[str, ...] = ()


def open_packed(path: Path) -> Pictures:
    """Open a file of training images. The pictures themselves are read when they are needed.

    A Parquet file has a column `image` of structs whose `bytes` is an encoded picture, and perhaps a column `label`. An
    `.npz` has `train_images` and perhaps `train_labels`, or `images` and `labels`; its images are uint8, `(N, H, W)` or
    `(N, H, W, 3)`. Labels are whole numbers from 0. If the metadata of a Parquet file does not name a class, its number
    is its name.

    Raises:
        ModuleNotFoundError: it is a Parquet file, and pyarrow is not installed.
        ValueError: the file is of another kind, is damaged, or lacks a column or an array.
    """
    readers = {".parquet": _open_parquet, ".npz": _open_arrays}
    if path.suffix.lower() not in readers:
        raise InvalidValue(f"{path} is no training data; name a folder of pictures, a .parquet file or an .npz file")
    found = readers[path.suffix.lower()](path)
    if found.count == 0:
        raise InvalidValue(f"{path} holds no image")
    return found


def _open_parquet(path: Path) -> Pictures:
    arrow, parquet = (require(name, f"{path} is read with", "parquet") for name in ("pyarrow", "pyarrow.parquet"))
    try:
        file = parquet.ParquetFile(path)
    except (arrow.ArrowInvalid, OSError) as error:
        raise InvalidValue(f"{path} is no Parquet file, or is cut short ({error})") from error
    columns = file.schema_arrow
    kind = columns.field("image").type if "image" in columns.names else None
    if not isinstance(kind, arrow.StructType) or kind.get_field_index("bytes") < 0:
        raise InvalidValue(
            f"{path} must have a column 'image' of structs with 'bytes'; it has {', '.join(columns.names)}"
        )
    count = file.metadata.num_rows

    def pictures() -> Iterator[Image.Image]:
        row = 0
        for batch in _batches(file, path, "image", arrow):
            for content in batch.column(0).field("bytes"):
                if not content.is_valid:
                    raise InvalidValue(f"{path} holds no picture in row {row}; write the pictures' bytes into it")
                yield decode_bytes(content.as_py(), f"the picture in row {row} of {path}")
                row += 1

    if "label" not in columns.names:
        return Pictures(count, pictures)
    values = [value for batch in _batches(file, path, "label", arrow) for value in batch.column(0).to_pylist()]
    return _labelled(path, count, pictures, values, _named_classes(columns.metadata))


def _batches(file: Any, path: Path, column: str, arrow: Any) -> Iterator[Any]:
    try:
        yield from file.iter_batches(batch_size=256, columns=[column])
    except (arrow.ArrowException, OSError) as error:
        raise InvalidValue(f"{path} cannot be read, is it damaged? ({error})") from error


def _named_classes(metadata: dict[bytes, bytes] | None) -> tuple[str, ...]:
    """The class names that the `datasets` library writes into a Parquet file's metadata."""
    try:
        described = json.loads((metadata or {})[b"huggingface"])
        return tuple(described["info"]["features"]["label"]["names"])
    except (KeyError, TypeError, ValueError):
        return ()


def _open_arrays(path: Path) -> Pictures:
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = next((pair for pair in ARRAY_NAMES if pair[0] in archive), None)
            if names is None:
                raise InvalidValue(f"{path} must hold 'train_images' or 'images'; it holds {', '.join(archive)}")
            images = archive[names[0]]
            labels = archive.get(names[1])
    except InvalidValue:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InvalidValue(f"{path} cannot be read as plain arrays of NumPy ({error})") from error
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or images.shape[3:] not in ((), (1,), (3,)):
        raise InvalidValue(
            f"'{names[0]}' of {path} must be uint8, (N, H, W) or (N, H, W, 3); "
            f"it is {images.dtype}, ({', '.join(map(str, images.shape))})"
        )
    plain = images[..., 0] if images.shape[3:] == (1,) else images

    def pictures() -> Iterator[Image.Image]:
        return (Image.fromarray(image) for image in plain)

    if labels is None:
        return Pictures(len(plain), pictures)
    return _labelled(path, len(plain), pictures, np.ravel(labels).tolist(), ())


def _labelled(
    path: Path, count: int, pictures: Callable[[], Iterator[Image.Image]], values: list[Any], names: tuple[str, ...]
) -> Pictures:
    if len(values) != count:
        raise InvalidValue(f"{path} holds {len(values)} labels for {count} images")
    wrong = [value for value in values if not isinstance(value, int) or value < 0]
    if wrong:
        raise InvalidValue(f"labels must be whole numbers from 0; {path} holds {wrong[0]!r}")
    classes = max(values, default=-1) + 1
    if len(names) < classes:
        names = tuple(str(number) for number in range(classes))
    return Pictures(count, pictures, torch.tensor(values, dtype=torch.int64), names)
