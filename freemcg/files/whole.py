"""Files are written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from freemcg.messages.terminal import say


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """The name of a file to write within the block. At the end of the block this file replaces `path`.

    If a folder has one of the two names, it is kept under another name.

    Raises:
        OSError: as `naming` does.
    """
    partial = path.with_name(path.name + ".partial")
    with naming(path):
        for place in (partial, path):
            if place.is_dir():
                set_aside(place, "is a folder where a file belongs")
        try:
            yield partial
        except OSError:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise
        partial.replace(path)


@contextmanager
def folder_written_whole(path: Path) -> Iterator[Path]:
    """A new folder to fill within the block. At the end of the block it replaces `path`, with all that was in there.

    After an error or an interrupt nothing is left of it.

    Raises:
        OSError: as `naming` does.
    """
    with naming(path):
        path = path.resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=path.parent, prefix=f"{path.name}.partial-") as place:
            new = Path(place) / "new"
            new.mkdir()
            yield new
            if path.exists():
                path.replace(Path(place) / "old")
            new.replace(path)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """A block in which every system error is raised anew, with `path` in it and what to do."""
    try:
        yield
    except OSError as error:
        why = f"cannot be written ({error.strerror or error}); free space on its disk, or allow writing to its folder"
        raise OSError(error.errno, why, str(path)) from error


def set_aside(path: Path, why: str) -> None:
    """Keep a damaged file or folder under another name, and say so."""
    aside = free_name(path)
    path.replace(aside)
    say(f"{path} {why}; it is kept as {aside}", err=True)


def free_name(path: Path) -> Path:
    """The name for a damaged file or folder, with a number if the name is taken."""
    aside, number = path.with_name(path.name + ".damaged"), 2
    while aside.exists():
        aside, number = path.with_name(f"{path.name}.damaged-{number}"), number + 1
    return aside


def write_text(path: Path, text: str) -> None:
    """Write a text, whole or not at all."""
    with written_whole(path) as partial:
        partial.write_text(text)
