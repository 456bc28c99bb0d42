"""The identity of a model, which a result records. It tells whether two results come from the same model."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from freemcg.identity.rounded import plain
from freemcg.identity.structure import structure
from freemcg.messages.errors import InvalidValue

PLAIN = (bool, int, float, complex, str, bytes)
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def identity(model: Any) -> str:
    """A module's class and a digest of its state and structure; for another callable, the name of its definition.

    A state may hold more than tensors: packed weights of a quantised layer, or a layer's extra state. All that
    `torch.save` would write counts. If a part cannot be written, its text counts, without addresses in memory. The
    structure is what `freemcg.identity.structure` tells. The arguments of a `functools.partial` count too, as a digest,
    because an argument may be a secret.

    Raises:
        ValueError: a part of the module's state has no values.
    """
    if isinstance(model, nn.Module):
        state = (part for key, value in model.state_dict().items() for part in _parts(key, value, ()))
        return f"{type(model).__name__}:{_digest(chain(state, filter(None, structure(model))))}"
    if isinstance(model, partial):
        arguments = (*enumerate(model.args), *model.keywords.items())
        return f"{identity(model.func)}:{_digest(f'{name} {_fixed(value)} '.encode() for name, value in arguments)}"
    name = getattr(model, "__qualname__", type(model).__qualname__)
    return f"{getattr(model, '__module__', type(model).__module__)}.{name}"


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _fixed(value: Any) -> str:
    """The part of a partial's argument that does not change: a plain value, a callable's identity, or else its type."""
    if callable(value):
        return identity(value)
    return repr(value) if value is None or isinstance(value, PLAIN) else type(value).__qualname__


def _parts(key: str, value: Any, within: tuple[Any, ...]) -> Iterator[bytes]:
    """The bytes of a value, piece by piece. `within` holds the values around it, since a value may hold itself."""
    if any(value is each for each in within):
        yield f"{key} itself ".encode()
    elif isinstance(value, Tensor):
        yield from _tensor_parts(key, value)
    elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
        yield f"{key} {value.dtype} {value.shape} ".encode()
        yield value.tobytes()
    else:
        entries = _entries(value)
        for name, each in entries:
            yield from _parts(f"{key}.{name}", each, (*within, value))
        if not entries:
            yield f"{key} {ADDRESS.sub('', repr(value))} ".encode()


def _tensor_parts(key: str, value: Tensor) -> Iterator[bytes]:
    if is_lazy(value) or value.is_meta:
        raise InvalidValue(
            f"{key!r} of the network has no values yet; load its weights, or call the network once on an image"
        )
    yield f"{key} {value.dtype} {tuple(value.shape)} ".encode()
    yield plain(value).flatten().view(torch.uint8).numpy().tobytes()


def _entries(value: Any) -> list[tuple[Any, Any]]:
    """The parts of a value, by name or place. There are none if its text says everything."""
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, set | frozenset):
        return list(enumerate(sorted(value, key=repr)))
    if isinstance(value, np.ndarray):
        return list(enumerate(value.tolist()))
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    is_text = value is None or isinstance(value, PLAIN) or hasattr(value, "__qualname__")
    return [] if is_text else list(enumerate(_pickled(value)))


def _pickled(value: Any) -> list[Any]:
    """What pickle would write for an object: its constructor, the arguments, its state and its items."""
    try:
        reduced = value.__reduce_ex__(2)
    except Exception:  # the object's own code may raise anything; then it cannot be written
        return []
    if isinstance(reduced, str):
        return []
    return [*reduced[:3], *(each for items in reduced[3:5] for each in items or ())]
