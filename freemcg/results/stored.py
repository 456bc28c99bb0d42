"""What every result has: it is kept in one file, and it is on one device."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from freemcg.files.tensors import load_tensors, save_tensors
from freemcg.messages.errors import InvalidValue
from freemcg.results.status import Status

AnyStored = TypeVar("AnyStored", bound="Stored")
SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Stored:
    """A frozen dataclass of tensors and plain values that is stored in one `.safetensors` file."""

    def save(self, path: str | Path, beside: Mapping[str, str] | None = None) -> Path:
        """Write the result to `path`, whole or not at all.

        Args:
            beside: digests of the files that belong to it, by name. They are written into the header.

        Raises:
            ValueError: `path` is a folder, and no damaged one in the place of a result.
        """
        path = Path(path)
        if path.is_dir() and path.suffix != SUFFIX:
            raise InvalidValue(f"{path} is a folder; name a file in it, such as {path / f'result{SUFFIX}'}")
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        tensors = {
            name: value.detach().cpu().clone(memory_format=torch.contiguous_format)  # a file shares no memory
            for name, value in values.items()
            if isinstance(value, Tensor)
        }
        left_out = {field.name for field in fields(self) if field.default is None}  # so that older versions read it
        rest = {
            name: value
            for name, value in values.items()
            if not isinstance(value, Tensor) and not (value is None and name in left_out)
        }
        header = {"kind": type(self).__name__, "result": json.dumps(rest)}
        if beside is not None:
            header["beside"] = json.dumps(beside)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_tensors(tensors, path, header)
        return path

    def to(self: AnyStored, device: torch.device) -> AnyStored:
        """The result with all its tensors on one device."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {name: each.to(device) for name, each in values.items() if isinstance(each, Tensor)}
        return replace(self, **moved)

    @classmethod
    def load(cls: type[AnyStored], path: str | Path) -> AnyStored:
        """Read a result that `save` wrote. This needs neither the black box nor the denoiser.

        Raises:
            FileNotFoundError: there is nothing at `path`.
            ValueError: the file is no result, was damaged, or holds a result of another kind.
        """
        return cls._made_of(*load_tensors(Path(path), "result"), path)

    @classmethod
    def _made_of(
        cls: type[AnyStored], tensors: dict[str, Tensor], header: dict[str, str], path: str | Path
    ) -> AnyStored:
        if header.get("kind") != cls.__name__:
            raise InvalidValue(f"{path} holds a {header.get('kind', 'file of another program')}, not a {cls.__name__}")
        try:
            values = json.loads(header["result"])
            if "status" in values:
                values["status"] = Status(values["status"])
            return cls(**tensors, **values)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise InvalidValue(
                f"{path} does not hold what this version keeps of a result ({error}); make it again"
            ) from error
