"""The exit status and the sentence with which an error ends the command."""

from __future__ import annotations

import sys
import traceback
from importlib import import_module
from typing import Any

from freemcg.messages.model_call import is_the_models, place_in_model
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
OUT_OF_MEMORY = (
    "memory ran out; give smaller images (--image-size), fewer particles or a smaller batch_size, or another --device"
)


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


class LostProcess(FailedElsewhere):
    """Another process has ended without a word, so that this one cannot go on."""

    def __init__(self) -> None:
        super().__init__(UNFINISHED, "another process has ended, killed or out of memory; start all of them again")


def failed_elsewhere(status: int, sentence: str) -> Exception:
    """The error of another process, for this one to raise."""
    return InvalidValue(sentence) if status == REFUSED else FailedElsewhere(status, sentence)


def status_of(error: BaseException) -> int:
    """The exit status that an error ends the command with.

    A `Refusal` is refused. Any other error is the model's, if it came out of the model's call or the user's code. A
    file that cannot be read or written is refused, and so is a job that needs more memory than there is. Any error that
    remains is a slip of ours.
    """
    if isinstance(error, FailedElsewhere):
        return error.status
    if isinstance(error, Refusal):
        return REFUSED
    if is_the_models(error):
        return MODEL_FAILED
    if hasattr(error, "format_message"):  # the command line's parser raised it
        return REFUSED
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else REFUSED
    return REFUSED if isinstance(error, OSError) or _is_of_memory(error) else SLIP


def _is_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: Python's, that of a device (torch's error has a class), or torch's on the CPU."""
    kinds = {each.__name__ for each in type(error).__mro__}
    return not kinds.isdisjoint({"MemoryError", "OutOfMemoryError"}) or "can't allocate memory" in str(error)


def sentence_of(error: BaseException) -> str:
    """The message on one line. If the model raised the error, its innermost line in a file and its type come first."""
    status, message = status_of(error), str(error)
    if isinstance(error, OSError) and error.filename is not None:
        message = f"{error.filename}: {error.strerror}"
    elif status == REFUSED and hasattr(error, "format_message"):
        message = str(error.format_message())
    elif status == REFUSED and _is_of_memory(error):
        message = f"{OUT_OF_MEMORY} ({message})"
    said = [" ".join(message.split())]
    if status in (MODEL_FAILED, SLIP) and not isinstance(error, FailedElsewhere):
        place = place_in_model(error) or "the model failed"
        said = [*([place] if status == MODEL_FAILED else []), type(error).__name__, *said]
    return printable(": ".join(each for each in said if each))


def show_traceback(error: BaseException) -> None:
    """Show on the error stream where a slip of ours happened, and ask for a report."""
    for line in "".join(traceback.format_exception(error)).splitlines():
        print(printable(line), file=sys.stderr)  # noqa: T201  # its text may be a user's
    print(  # noqa: T201
        "freemcg: this is a fault of freemcg, not yours; finished results are kept. Please report it, with the lines "
        "above, to the issue tracker of the project",
        file=sys.stderr,
    )
