"""The source of a callable: a digest of the user's files that hold its code."""

from __future__ import annotations

import hashlib
import linecache
from collections.abc import Iterator
from functools import partial
from types import FunctionType, MethodType
from typing import Any

from torch import nn

from freemcg.messages.origin import is_the_users


def source(model: Any) -> str:
    """A digest of the user's own files that hold the code of a callable. It is empty if there are none.

    For a function it is the function's file, also behind decorators and `functools.partial`. For an object they are the
    files of its class, of the base classes and of a module's parts. Files that these import or read do not count.
    """
    texts: dict[str, str] = {}
    lines: list[int] = []
    for function in _functions(model):
        code = function.__code__
        if is_the_users(code.co_filename):
            linecache.checkcache(code.co_filename)
            texts[code.co_filename] = "".join(linecache.getlines(code.co_filename))
            lines.append(code.co_firstlineno)  # tells two lambdas apart
    if not any(texts.values()):
        return ""
    return hashlib.blake2b("".join((*texts.values(), str(lines))).encode(), digest_size=8).hexdigest()


def _functions(model: Any) -> Iterator[FunctionType]:
    if isinstance(model, FunctionType):
        yield model
        yield from _functions(getattr(model, "__wrapped__", None))
    elif isinstance(model, MethodType):
        yield from _functions(model.__func__)
        yield from _functions_of_class(model.__self__ if isinstance(model.__self__, type) else type(model.__self__))
    elif isinstance(model, partial):
        for each in (model.func, *model.args, *model.keywords.values()):
            yield from _functions(each)
    elif isinstance(model, nn.Module):
        for each in dict.fromkeys(type(part) for part in model.modules()):
            yield from _functions_of_class(each)
    elif callable(model):
        yield from _functions_of_class(type(model))


def _functions_of_class(found: type) -> Iterator[FunctionType]:
    for each in found.__mro__:
        for value in vars(each).values():
            if isinstance(value, FunctionType):
                yield from _functions(value)
