"""What a network is beside the state that it saves: its parts, their settings, and the program of a compiled one."""

from __future__ import annotations

import dis
import io
import re
import sys
import zipfile
from collections.abc import Iterator
from enum import Enum
from inspect import unwrap
from types import BuiltinFunctionType, FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.nn.parameter import is_lazy

from freemcg.identity.inside import codes
from freemcg.identity.rounded import plain, rounded
from freemcg.messages.origin import is_the_users

NOT_SETTINGS = frozenset(vars(nn.Module())) | {"_compiled_call_impl", "name_or_path"}
"""What torch keeps in every module, and in one after `compile()`, and what `transformers` notes of a folder."""
MANGLED = re.compile(rb"\.?___torch_mangle_\d+")
DEVICE = re.compile(rb"X.{3}\x00(cpu|cuda:\d+)", re.DOTALL)
FINAL = re.compile(rb"(?:  \S+ : Final\[.*\n)+")  # torch keeps these in a set
ADDRESS = re.compile(r"0x[0-9a-fA-F]+")


def structure(network: nn.Module) -> Iterator[bytes | None]:
    """What tells a network from another with the same state, piece by piece. `None` stands for what is left out.

    Of every part these count: its class, its own parts, its plain attributes (numbers, texts, truth values, and lists
    of them in a library's class), its tensors outside the state, and a traced or scripted program. Computed floats
    count rounded, since their last bits differ between machines. Left out is what may change in use or has no text:
    attributes that `forward` sets, hooks, other objects, and the code of classes that are in no library.
    """
    places = {part: name for name, part in network.named_modules()}
    in_use = {name for kind in {type(part) for part in places} for name in _set_in_use(kind)}
    script: str | None = None
    for part, name in places.items():
        own = [f"{key}={places[each]}" for key, each in part._modules.items() if each is not None]
        yield f"{name} {type(part).__qualname__} {own} ".encode()
        if part._forward_hooks or part._forward_pre_hooks:
            yield None
        if isinstance(part, torch.jit.ScriptModule):
            if script is None or not name.startswith(script):
                script = f"{name}." if name else ""
                yield from _program(part)
        elif isinstance(part, GraphModule):
            yield from _graph(part)
        else:
            yield from _settings(part, in_use)


def tells_all(network: nn.Module) -> bool:
    """Whether `structure` leaves nothing out. Then networks that differ have other identities."""
    return all(piece is not None for piece in structure(network))


def _settings(part: nn.Module, in_use: set[str]) -> Iterator[bytes | None]:
    kinds = type(part).__mro__[: type(part).__mro__.index(nn.Module)]
    if not all(_in_a_library(kind.__module__) for kind in kinds):
        yield None
    of_torch = all(kind.__module__.startswith("torch.") for kind in kinds)
    for name in sorted(part._non_persistent_buffers_set):
        yield from _tensor(name, part._buffers[name])
    for name, value in sorted(vars(part).items()):
        if name in NOT_SETTINGS or (of_torch and name.startswith("_")):
            continue
        if name in in_use or (isinstance(value, list) and not all(_in_a_library(each.__module__) for each in kinds)):
            yield None
        elif isinstance(value, Tensor):
            yield from _tensor(name, value)
        else:
            yield from _plain(name, value)


def _plain(name: str, value: Any) -> Iterator[bytes | None]:
    """A setting as text. It is left out if it is none."""
    if isinstance(value, torch.device):  # where it is, not what it is
        return
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, list | tuple):
        for index, each in enumerate(value):
            yield from _plain(f"{name}.{index}", each)
    elif isinstance(value, float):
        yield f"{name} {value:.12g} ".encode()
    elif value is None or isinstance(value, bool | int | complex | str | bytes | torch.dtype | Enum):
        yield f"{name} {value!r} ".encode()
    elif isinstance(value, FunctionType | BuiltinFunctionType | type):
        yield f"{name} {value.__qualname__} ".encode()
        if not _in_a_library(value.__module__ or "builtins"):
            yield None
    else:
        yield None


def _tensor(name: str, value: Tensor | None) -> Iterator[bytes | None]:
    if value is None or is_lazy(value) or value.is_meta:
        yield None if value is not None else f"{name} None ".encode()
        return
    yield f"{name} {value.dtype} {tuple(value.shape)} ".encode()
    if value.is_floating_point() or value.is_complex():
        yield rounded(value).encode()
        yield None
    else:
        yield plain(value).flatten().view(torch.uint8).numpy().tobytes()


def _program(part: torch.jit.ScriptModule) -> Iterator[bytes | None]:
    """What `torch.jit.save` writes, but for what counts compilations and devices."""
    try:
        written = part.save_to_buffer()
    except Exception:  # torch gives no list of what it cannot write
        yield None
        return
    with zipfile.ZipFile(io.BytesIO(written)) as archive:
        for name in archive.namelist():
            inside = name.split("/", 1)[1]
            if inside.startswith(("code/", "constants", "data")) and not inside.endswith(".debug_pkl"):
                data = archive.read(name)
                yield data if "/" in inside and not inside.startswith("code/") else _fixed(data)


def _fixed(data: bytes) -> bytes:
    data = DEVICE.sub(b"", MANGLED.sub(b"", data))
    return FINAL.sub(lambda lines: b"\n".join(sorted(lines[0].split(b"\n"))), data)


def _graph(part: GraphModule) -> Iterator[bytes | None]:
    """The code of a traced or exported network, and the tensors that it holds beside its state."""
    yield ADDRESS.sub("", part.code).encode()
    for name, value in sorted((*part._buffers.items(), *vars(part).items())):
        if isinstance(value, Tensor) and (name in vars(part) or name in part._non_persistent_buffers_set):
            yield from _tensor(name, value)
    for node in part.graph.nodes:
        if node.op == "call_function" and not _in_a_library(getattr(node.target, "__module__", None) or "builtins"):
            yield None


def _in_a_library(module: str) -> bool:
    """Whether a module is installed or built in. Then its version tells its code."""
    if module in sys.builtin_module_names or module.split(".", maxsplit=1)[0] in ("torch", "math"):
        return True
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is not None and not is_the_users(file)


def _set_in_use(kind: type) -> set[str]:
    """The attributes that `forward` sets, or a method that it calls."""
    found, seen, names = set[str](), set[str](), ["forward"]
    while names:
        name = names.pop()
        own: Any = getattr(kind, name, None) if name not in seen else None
        function = unwrap(own)
        seen.add(name)
        if isinstance(function, FunctionType) and function is not getattr(nn.Module, name, None):
            for code in codes(function.__code__):
                found |= {each.argval for each in dis.get_instructions(code) if each.opname == "STORE_ATTR"}
                names += code.co_names
    return found
