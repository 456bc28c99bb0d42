"""The pictures that a user named. They are listed once, and every step of a start works on that list."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from freemcg.files.images import is_utf_8
from freemcg.files.listing import list_images
from freemcg.messages.errors import InvalidValue


@dataclass(frozen=True)
class Listing:
    """The pictures of a start: one that was named by itself, or all in a folder and its subfolders.

    Attributes:
        named: the picture or the folder, as the user named it.
        files: the file of each picture, by its path below the folder, in order.
        alone: whether the picture was named by itself.
    """

    named: Path
    files: dict[str, Path]
    alone: bool


def list_pictures(images: Path, out: Path) -> Listing:
    """List a picture, or those in a folder and its subfolders. Those within the folder `out` of results are left out.

    Raises:
        FileNotFoundError: there is no such picture or folder, or the folder holds no picture.
        ValueError: `out` is the folder of the images, or can be no folder.
        NotADirectoryError: `out` is a file.
    """
    _check_out(out)
    if images.is_file():
        return Listing(images, {images.name: images}, alone=True)
    if not images.is_dir():
        raise FileNotFoundError(f"there is no picture or folder {images}")
    if images.resolve() == out.resolve():
        raise InvalidValue(f"{out} is the folder of the images; give results another one")
    paths = list_images(images)
    if out.resolve() not in images.resolve().parents:
        paths = [path for path in paths if not path.parent.resolve().is_relative_to(out.resolve())]
    if not paths:
        raise FileNotFoundError(f"{images} holds no picture but those in {out}")
    return Listing(images, {str(path.relative_to(images)): path for path in paths}, alone=False)


def _check_out(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"{out} is a file; results need a folder")
    try:
        out.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # such as links in a circle
        raise InvalidValue(f"{out} can be no folder ({error}); give another --out") from None
    if not is_utf_8(out):
        raise InvalidValue(f"{out} has a name that is not UTF-8; give another --out")
