"""The networks that a callable uses: behind a bound method, a partial, a closure, a global name or an attribute."""

from __future__ import annotations

import dis
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import Any

from torch import nn

from freemcg.messages.origin import is_the_users

SWITCHES = {"eval", "train"}
LONGEST = 1000
"""A longer list or mapping holds data, and no networks."""


def networks(model: Any) -> list[tuple[str, nn.Module]]:
    """The networks that a callable uses, each with its name in code.

    Only code of the user is looked into. There are none if a part of that code switches the mode of a network itself.
    """
    reached, ahead = dict[int, tuple[str, Any]](), [("model", model)]
    while ahead:
        name, value = ahead.pop()
        if id(value) not in reached:
            reached[id(value)] = name, value
            if not isinstance(value, nn.Module):
                ahead += [(inner, each) for inner, each in _uses(name, value) if _may_use(each)]
    if any(_switches(value) for _, value in reached.values()):
        return []
    return [(name, value) for name, value in reached.values() if isinstance(value, nn.Module)]


def _may_use(value: Any) -> bool:
    if isinstance(value, type) or (isinstance(value, list | tuple | Mapping) and len(value) > LONGEST):
        return False
    return isinstance(value, nn.Module | FunctionType | MethodType | partial | list | tuple | Mapping) or _is_of_a_user(
        type(value)
    )


def _uses(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What a value uses at once, each with its name in code."""
    if isinstance(value, FunctionType):
        yield from _used_by_code(value)
    elif isinstance(value, MethodType):
        yield f"{name}.__self__", value.__self__
        if not isinstance(value.__self__, nn.Module):
            yield f"{name}.__func__", value.__func__
    elif isinstance(value, partial):
        yield from ((f"{name}.{key}", getattr(value, key)) for key in ("func", "args", "keywords"))
    elif isinstance(value, list | tuple):
        yield from ((f"{name}[{index}]", each) for index, each in enumerate(value))
    elif isinstance(value, Mapping):
        yield from ((f"{name}[{key!r}]", each) for key, each in value.items())
    elif _is_of_a_user(type(value)):
        yield from ((f"{name}.{key}", each) for key, each in getattr(value, "__dict__", {}).items())
        yield f"{name}.__call__", vars(type(value)).get("__call__")


def _used_by_code(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """What the code of a function names: in its closure, its module and its defaults. Also what it decorates."""
    code = function.__code__
    yield code.co_name, getattr(function, "__wrapped__", None)
    if not is_the_users(code.co_filename):
        return
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # the variable has no value yet
            continue
    names = {each.argval for part in codes(code) for each in dis.get_instructions(part) if each.opname == "LOAD_GLOBAL"}
    yield from ((name, function.__globals__[name]) for name in sorted(names & function.__globals__.keys()))
    yield from ((f"{code.co_name}.__defaults__[{at}]", each) for at, each in enumerate(function.__defaults__ or ()))
    yield from ((name, each) for name, each in (function.__kwdefaults__ or {}).items())


def _switches(value: Any) -> bool:
    """Whether code of the user names a method that switches the mode. Of an object, any method but the first counts."""
    if isinstance(value, FunctionType):
        names = {name for part in codes(value.__code__) for name in part.co_names}
        return is_the_users(value.__code__.co_filename) and bool(SWITCHES & names)
    if isinstance(value, nn.Module) or not _is_of_a_user(type(value)):
        return False
    return any(_switches(each) for name, each in vars(type(value)).items() if name != "__init__")


def codes(code: CodeType) -> Iterator[CodeType]:
    """A piece of code and the pieces within it, such as lambdas."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes(constant)


def _is_of_a_user(kind: type) -> bool:
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return file is not None and is_the_users(file)
