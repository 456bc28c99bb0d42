"""The faults of a job and of its files: kills, a full disk, damage."""

from __future__ import annotations

import errno
import shutil
import sqlite3
import tempfile
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from freemcg.blackbox.cache import QueryCache
from freemcg.blackbox.cache_file import UNREADABLE, unpacked

OF_FILES = ("emptied", "halved", "flipped", "flipped", "flipped", "removed", "folder", "renamed")
OF_FOLDERS = ("file", "removed", "renamed")


class Killed(BaseException):
    """Stands for SIGKILL. After it nothing may change a file."""


class Faults:
    """Counts the points at which a start changes a file or asks a model, and fails at one of them.

    Args:
        root: the folder that holds all files. After a kill it is as it was at that moment.
        kind: `"kill"`, or `"full"`, which means that the disk is full from that point on.
        point: the number of the point. Beyond the last one nothing fails.
    """

    def __init__(self, root: Path, kind: str = "none", point: int = 0) -> None:
        self.root, self.kind, self.point = root, kind, point
        self.reached = 0
        self.kept = root.with_name(root.name + "-at-the-kill")

    def at(self, *, writes: bool = False, half: Path | None = None) -> None:
        """Count a point that a start has come to. `half` is a file that is half written at it."""
        self.reached += 1
        if self.kind == "kill" and self.reached == self.point:
            if half is not None and half.is_file():
                shorten(half)
            shutil.copytree(self.root, self.kept)
            raise Killed
        if self.kind == "full" and writes and self.reached >= self.point:
            raise OSError(errno.ENOSPC, "No space left on device")

    @contextmanager
    def around(self, monkeypatch):
        """Within the block, files, the cache and the model report their points."""
        moves, makes, act_on = Path.replace, Path.mkdir, QueryCache._with_file

        def replace(path, target):
            self.at(writes=True, half=path)
            found = moves(path, target)
            self.at()
            return found

        def mkdir(path, *given, **named):
            if not path.is_dir():
                self.at(writes=True)
            makes(path, *given, **named)

        def with_file(cache, act):
            def acts(file):
                writing = act.__name__ == "write"
                try:
                    self.at(writes=writing)
                except OSError:
                    raise sqlite3.OperationalError("database or disk is full") from None
                found = act(file)
                self.at()
                return found

            return act_on(cache, acts)

        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", replace)
            patched.setattr(Path, "mkdir", mkdir)
            patched.setattr(QueryCache, "_with_file", with_file)
            yield

    def restore(self) -> None:
        """After a kill, undo what was done to files while its exception was handled."""
        if self.kept.is_dir():
            shutil.rmtree(self.root)
            self.kept.rename(self.root)


def shorten(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def damage(path: Path, kind: str, where: float = 0.5, mask: int = 1) -> None:
    """Damage a file or a folder. `where`, in [0, 1), says which of the bytes that are not zero is flipped."""
    if kind == "flipped":
        content = bytearray(path.read_bytes())
        if places := [place for place, byte in enumerate(content) if byte]:
            content[places[int(where * len(places))]] ^= mask
        path.write_bytes(content)
    elif kind == "halved":
        shorten(path)
    elif kind == "emptied":
        path.write_bytes(b"")
    elif kind == "renamed":
        path.rename(path.with_name(f"{path.name}.{len(list(path.parent.iterdir()))}"))
    else:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        if kind == "folder":
            path.mkdir()
            (path / "mine").write_text("not to be lost")
        elif kind == "file":
            path.write_text("not to be lost")


def answers_in(path: Path, folder: str | None) -> set[bytes]:
    """The model and image of each undamaged answer in a cache. They are read from a copy in `folder`."""
    found = set()
    with tempfile.TemporaryDirectory(dir=folder) as copies:
        for end in ("", "-wal"):
            if (part := path.with_name(path.name + end)).is_file():
                shutil.copy(part, copies)
        with closing(sqlite3.connect(Path(copies, path.name))) as file, suppress(*UNREADABLE):
            for model, scores, image, answer in file.execute("SELECT model, scores, image, answer FROM answers"):
                if isinstance(image, bytes) and unpacked(model, scores, image, answer) is not None:
                    found.add(model.encode() + image)
    return found
