"""The processes that a launcher started: each has a device, and they go on or end together."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import gather_object

from freemcg.messages.errors import (
    SLIP,
    UNFINISHED,
    InvalidValue,
    LostProcess,
    failed_elsewhere,
    sentence_of,
    show_traceback,
    status_of,
)

T = TypeVar("T")

LONGEST_WAIT = timedelta(days=30)


def start_processes(device: str | None = None) -> tuple[PartialState, torch.device]:
    """Join the processes that the launcher started, if any, and choose this one's device.

    Args:
        device: a device as `torch.device` takes it. `None` takes a CUDA device if there is one, else the CPU.

    Raises:
        ValueError: there is no such device.
    """
    if device is not None:
        try:
            wanted = torch.device(device)
        except RuntimeError:
            raise InvalidValue(f"there is no device {device!r}; name cpu, cuda or cuda:N") from None
        if wanted.type == "cuda" and (wanted.index or 0) >= torch.cuda.device_count():
            raise InvalidValue(f"there is no device {device}; {torch.cuda.device_count()} CUDA devices are visible")
        if wanted.type not in ("cpu", "cuda") and not _computes(wanted):
            raise InvalidValue(f"nothing can be computed on the device {device!r} here; name cpu, cuda or cuda:N")
    on_cpu = device == "cpu" or not torch.cuda.is_available()
    state = PartialState(cpu=on_cpu, timeout=LONGEST_WAIT)
    return state, state.device if device in (None, "cpu", "cuda") else torch.device(device)


def _computes(device: torch.device) -> bool:
    try:
        return torch.zeros(1, device=device).tolist() == [0]
    except Exception:  # each kind of device has its own
        return False


def together(state: PartialState, act: Callable[[], T]) -> list[T]:
    """Act on every process, wait for all, and return what each returned.

    If one of them fails, none goes on, and the main process says why. An interrupt does not wait for the others.

    Raises:
        LostProcess: another process has ended.
    """
    own: BaseException | None = None
    result: T | None = None
    try:
        result = act()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a model may raise any kind
        own = error
    failed = None if own is None else (status_of(own), sentence_of(own))
    try:
        ends = gather_object([(failed, result)])
    except RuntimeError as error:  # what torch.distributed raises if a process has ended
        if not state.is_main_process:
            raise SystemExit(UNFINISHED) from error
        raise own or LostProcess() from error
    failures = [each for each, _ in ends if each is not None]
    if failures and not state.is_main_process:
        if own is not None and status_of(own) == SLIP:
            show_traceback(own)
        raise SystemExit(failures[0][0])
    if own is not None:
        raise own
    if failures:
        raise failed_elsewhere(*failures[0])
    return [each for _, each in ends]
