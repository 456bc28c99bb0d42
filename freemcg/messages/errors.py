"""The exit status and the sentence with which an error ends the command."""

from __future__ import annotations

import sys
import traceback
from importlib import import_module
from typing import Any

from freemcg.messages.origin import is_ours, is_the_users
from freemcg.messages.terminal import printable

UNFINISHED = 1
REFUSED = 2
MODEL_FAILED = 3
SLIP = 70
INTERRUPTED = 130
TERMINATED = 143
STATUSES = {
    0: "everything asked for is done",
    UNFINISHED: "some pictures or maps are left; the same command goes on from there",
    REFUSED: "refused: something in the command, a file or an answer has to be mended first",
    MODEL_FAILED: "the model's own code raised an error",
    SLIP: "a fault of freemcg itself; please report it",
    INTERRUPTED: "interrupted",
    TERMINATED: "ended by SIGTERM",
}


class Refusal(Exception):
    """An error that the user can mend. The message is one sentence that says how."""


class InvalidValue(Refusal, ValueError):
    """A value, a file or an answer is not what it must be."""


class InvalidType(Refusal, TypeError):
    """Something is of the wrong type."""


class MissingExtra(Refusal, ModuleNotFoundError):
    """A package is not installed. The message names the extra that brings it."""


def require(module: str, what: str, extra: str) -> Any:
    """Import a module that comes with an extra.

    Args:
        what: the beginning of the message, such as `"ONNX files need"`.

    Raises:
        ModuleNotFoundError: it is not installed. The message names the extra.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtra(f"{what} {error.name}, which is not installed: pip install 'freemcg[{extra}]'") from error


class FailedElsewhere(RuntimeError):
    """Another process has failed, and not by a refusal. This holds its exit status and its sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def status_of(error: BaseException) -> int:
    """The exit status that an error ends the command with.

    A `Refusal` is refused. Any other error is the model's, if the innermost line outside all libraries is in a file of
    the user's. A file that cannot be read or written is refused. Any error that remains is a slip of ours.
    """
    if isinstance(error, FailedElsewhere):
        return error.status
    if isinstance(error, Refusal) or hasattr(error, "format_message"):  # the command line's parser raised it
        return REFUSED
    if _user_line(error):
        return MODEL_FAILED
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else REFUSED
    return REFUSED if isinstance(error, OSError) else SLIP


def sentence_of(error: BaseException) -> str:
    """The message on one line. If the user's own code raised the error, file, line and type come first."""
    if hasattr(error, "format_message"):
        message = str(error.format_message())
    elif isinstance(error, OSError) and error.filename is not None:
        message = f"{error.filename}: {error.strerror}"
    else:
        message = str(error)
    status, line = status_of(error), ""
    if status == MODEL_FAILED and not isinstance(error, FailedElsewhere):
        line = f"{_user_line(error)}: {type(error).__name__}: "
    elif status == SLIP and not isinstance(error, FailedElsewhere):
        line = f"{type(error).__name__}: "
    return printable(line + " ".join(message.split()))


def show_traceback(error: BaseException) -> None:
    """Show on the error stream where a slip of ours happened, and ask for a report."""
    traceback.print_exception(error, file=sys.stderr)
    print(  # noqa: T201
        "freemcg: this is a fault of freemcg, not yours; finished results are kept. Please report it, with the lines "
        "above, to the issue tracker of the project",
        file=sys.stderr,
    )


def _user_line(error: BaseException) -> str:
    """The file and line of the user's own code that raised an error. It is empty if other code raised it."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if is_ours(frame.filename):
            return ""
        if is_the_users(frame.filename):
            return f"{frame.filename}, line {frame.lineno}"
    return ""
