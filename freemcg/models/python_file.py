"""An object of a user's Python file, which is run for it."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from freemcg.blackbox import BlackBox
from freemcg.blackbox.asking import Remote
from freemcg.diffusion.denoiser import Denoiser
from freemcg.messages.errors import InvalidType, InvalidValue
from freemcg.messages.model_call import in_this_folder


def load_attribute(path: Path, name: str) -> Any:
    """Run the Python file `path`, and return its attribute `name`. The file may import its neighbours.

    If the file changes the working folder, it is changed back.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file has no `name`, or it raised an exception. The message names the exception and its line.
        TypeError: the attribute cannot be called, or is a class.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    module = _run(path)
    try:
        found = getattr(module, name)
    except AttributeError:
        known = [key for key, value in vars(module).items() if callable(value) and not isinstance(value, type)]
        own = [key for key in known if not key.startswith("_")]
        hint = f"; it has {', '.join(own[:8])}" if own else ""
        raise InvalidValue(f"{path} has nothing called {name!r}{hint}") from None
    if isinstance(found, type):
        raise InvalidType(f"{path}:{name} is a class; name an instance of it")
    if not callable(found) and not isinstance(found, BlackBox | Remote | Denoiser):
        raise InvalidType(f"{path}:{name} is a {type(found).__name__}; it must be callable, images in and scores out")
    return found


def _run(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    folder, before = str(path.resolve().parent), sys.modules.get(path.stem)
    sys.path.insert(0, folder)
    sys.modules[path.stem] = module
    try:
        with in_this_folder():
            spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the file may raise any kind
        sys.modules.pop(path.stem)
        raise InvalidValue(
            f"{path} cannot be imported: {_failing_line(error, path)}{type(error).__name__}: {error}"
        ) from error
    finally:
        sys.path.remove(folder)
        if before is not None:
            sys.modules[path.stem] = before
    return module


def _failing_line(error: BaseException, path: Path) -> str:
    if isinstance(error, SyntaxError):
        return ""  # its message ends with file and line
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == path.absolute()]
    return f"line {lines[-1]}: " if lines else ""
