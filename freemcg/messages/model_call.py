"""The call of the user's model, and the errors that come out of it.

Such an error is known by the call that it passed on its way out, and not by the file that raised it. A network may fail
in a library's code only, without a line of the user's. The error itself stays as it was raised.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from freemcg.messages.origin import is_ours, is_the_users


def call_model(model: Callable[[Any], Any], images: Any) -> Any:
    """Call the user's model. Whatever it raises is the model's failure, whoever wrote the line that raised it."""
    return model(images)


def is_the_models(error: BaseException) -> bool:
    """Whether an error came out of `call_model`, or out of other code of the user's that the model brought along."""
    return _inside(error) is not None or bool(_users_line(error))


def place_in_model(error: BaseException) -> str:
    """The file and line where the model failed: the innermost of the user's, else the innermost. It may be empty."""
    inside = _inside(error) or []
    written = [frame for frame in inside if not frame.filename.startswith("<")]
    users = [frame for frame in inside if is_the_users(frame.filename)]
    return next((_line(frame) for frame in reversed(users or written)), "") or _users_line(error)


def _inside(error: BaseException) -> list[traceback.FrameSummary] | None:
    """The lines of an error that lie within `call_model`, outermost first; `None` if it did not come out of there."""
    step = error.__traceback__
    while step is not None:
        if step.tb_frame.f_code is call_model.__code__:
            return list(traceback.extract_tb(step.tb_next))
        step = step.tb_next
    return None


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
