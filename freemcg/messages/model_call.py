"""The call of the user's model, and the errors that come out of it.

Such an error is known by the call that it passed on its way out, and not by the file that raised it. A network may fail
in a library's code only, without a line of the user's. The error itself stays as it was raised.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Protocol, TypeVar

from freemcg.messages.origin import is_ours, is_the_users

Piece_co = TypeVar("Piece_co", covariant=True)


class Answering(Protocol[Piece_co]):
    """A model that answers piece by piece."""

    def answers(self, images: Any, charge: Any, /) -> Iterable[Piece_co]: ...  # noqa: D102


def call_model(model: Callable[[Any], Any], images: Any) -> Any:
    """Call the user's model. Whatever it raises is the model's failure, whoever wrote the line that raised it."""
    with in_this_folder():
        return model(images)


@contextmanager
def in_this_folder() -> Iterator[None]:
    """A block of the user's code. If that changes the working folder, it is changed back, for the paths of the job."""
    folder = os.getcwd()  # noqa: PTH109
    try:
        yield
    finally:
        os.chdir(folder)


def call_remote(remote: Answering[Piece_co], images: Any, charge: Any) -> Iterator[Piece_co]:
    """The answers of a user's model piece by piece. Whatever it raises in between is the model's failure too."""
    yield from remote.answers(images, charge)


def is_the_models(error: BaseException) -> bool:
    """Whether an error came out of the model's call, or out of other code of the user's that it brought along."""
    return _call(error) is not None or bool(_users_line(error))


def place_in_model(error: BaseException) -> str:
    """The file and line where the model failed: the innermost of the user's, else the innermost. It may be empty.

    If a model that answers piece by piece has no line of the user's, its class comes first.
    """
    call = _call(error)
    inside = [] if call is None else traceback.extract_tb(call.tb_next)
    users = [_line(frame) for frame in inside if is_the_users(frame.filename)]
    if call is None or users:
        return users[-1] if users else _users_line(error)
    remote = call.tb_frame.f_locals.get("remote")
    named = [] if remote is None else [f"{type(remote).__module__}.{type(remote).__qualname__}"]
    written = [_line(frame) for frame in inside if not frame.filename.startswith("<")]
    return ", ".join(named + written[-1:])


def _call(error: BaseException) -> TracebackType | None:
    """The call of the model that an error came out of; `None` if it came out of none."""
    step = error.__traceback__
    while step is not None and step.tb_frame.f_code not in (call_model.__code__, call_remote.__code__):
        step = step.tb_next
    return step


def _users_line(error: BaseException) -> str:
    """The innermost line outside all libraries, if it is in a file of the user's."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if is_ours(frame.filename):
            return ""
        if is_the_users(frame.filename):
            return _line(frame)
    return ""


def _line(frame: traceback.FrameSummary) -> str:
    return f"{frame.filename}, line {frame.lineno}"
