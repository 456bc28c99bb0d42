"""Tensors of the Open Inference Protocol v2, as JSON and in its binary extension."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freemcg.messages.errors import InvalidValue

HEADER_LENGTH = "inference-header-content-length"
NUMBERS = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8",
    "INT8": "i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip


def raw(array: NDArray[Any]) -> bytes:
    """An array in the binary extension: little-endian, row by row. Each text follows its length."""
    if array.dtype == object:
        return b"".join(struct.pack("<I", len(each)) + each for each in array.flat)
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def read_outputs(content: bytes, headers: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    """The outputs of a reply by name: numbers, or texts (`BYTES`) as an object array.

    Raises:
        ValueError: the reply does not follow the protocol. The message is the end of a sentence.
    """
    length = headers.get(HEADER_LENGTH)
    try:
        size = len(content) if length is None else int(length)
        outputs = json.loads(content[:size])["outputs"]
        rest, found = memoryview(content)[size:], {}
        for output in outputs:
            binary = (output.get("parameters") or {}).get("binary_data_size")
            kind, shape = output["datatype"], [int(side) for side in output["shape"]]
            if binary is None:
                flat = _from_json(output["data"], kind)
            elif binary > len(rest):
                raise InvalidValue
            else:
                flat, rest = _from_raw(bytes(rest[:binary]), kind), rest[binary:]
            found[str(output["name"])] = flat.reshape(shape)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, struct.error, RecursionError):
        raise InvalidValue("is no inference response of protocol v2") from None
    return found


def _from_json(data: Any, kind: str) -> NDArray[Any]:
    return np.array(data, dtype=object if kind == "BYTES" else NUMBERS[kind])


def _from_raw(data: bytes, kind: str) -> NDArray[Any]:
    if kind != "BYTES":
        return np.frombuffer(data, dtype=NUMBERS[kind])
    texts = []
    while data:
        (length,) = struct.unpack_from("<I", data)
        texts.append(data[4 : 4 + length].decode())
        data = data[4 + length :]
    return np.array(texts, dtype=object)
