"""Which pictures of a folder are listed."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import pytest
import torch

from freemcg.files.images import read_image, write_image
from freemcg.files.listing import list_images
from freemcg.messages.errors import InvalidValue


def names_below(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in list_images(folder)]


def test_pictures_of_a_folder_are_listed_in_order(tmp_path):
    for name in ("b/2.PNG", "b/1.jpg", "a.webp", "c.txt", "d.png.partial", "b/e/f.tiff"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    names = [str(path.relative_to(tmp_path)) for path in list_images(tmp_path)]
    assert names == ["a.webp", "b/1.jpg", "b/2.PNG", "b/e/f.tiff"]


def test_a_folder_without_pictures_is_refused(tmp_path):
    (tmp_path / "notes.txt").touch()
    suffixes = (
        ".avif, .bmp, .gif, .heic, .heif, .j2k, .jfif, .jp2, .jpe, .jpeg, .jpg, .jxl, .pgm, .png, .ppm, .tif, .tiff, "
        ".webp"
    )
    with pytest.raises(FileNotFoundError, match=f"^{re.escape(f'{tmp_path} holds no picture ({suffixes})')}$"):
        list_images(tmp_path)
    with pytest.raises(FileNotFoundError, match=f"^{re.escape(f'there is no folder {tmp_path}/x')}$"):
        list_images(tmp_path / "x")


def test_pictures_that_cannot_be_read_are_listed(tmp_path):
    (tmp_path / "a.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    assert list_images(tmp_path) == [tmp_path / "a.HEIC"]
    with pytest.raises(InvalidValue, match=r"a\.HEIC is not a picture that Pillow can read$"):
        read_image(tmp_path / "a.HEIC", channels=3)


def test_hidden_pictures_and_folders_are_left_out(tmp_path):
    (tmp_path / ".thumbnails").mkdir()
    for name in ("a.png", "._a.png", ".thumbnails/b.png", "..c.png"):
        write_image(torch.zeros(1, 2, 2), tmp_path / name)
    assert [path.name for path in list_images(tmp_path)] == ["..c.png", "a.png"]


def test_a_linked_folder_is_followed_and_each_is_listed_once(tmp_path):
    """Two links, a link into a folder that is listed anyway, and a linked folder within a linked one."""
    for name in ("pics/a.png", "pics/b/c.png", "else/d.png", "far/e.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for link, target in (("pics/a-b", "pics/b"), ("pics/x", "else"), ("pics/y", "else"), ("else/far", "far")):
        (tmp_path / link).symlink_to(tmp_path / target)
    assert names_below(tmp_path / "pics") == ["a.png", "b/c.png", "x/d.png", "x/far/e.png"]


def test_a_link_to_a_folder_that_is_not_there_is_said_to_be_one(tmp_path):
    (tmp_path / "a.png").touch()
    for name in ("disk", "notes.txt"):
        (tmp_path / name).symlink_to("unmounted")
    assert names_below(tmp_path) == ["a.png", "disk"]
    with pytest.raises(FileNotFoundError, match=r"disk is a link to unmounted, which is not there$"):
        read_image(tmp_path / "disk", channels=1)


def test_links_in_a_circle_end(tmp_path):
    (tmp_path / "pics" / "deep").mkdir(parents=True)
    (tmp_path / "else").mkdir()
    for name in ("pics/a.png", "else/b.png", "outside.png"):
        (tmp_path / name).touch()
    for link, target in (("pics/self", "pics"), ("pics/deep/up", "."), ("pics/else", "else"), ("else/back", "pics")):
        (tmp_path / link).symlink_to(tmp_path / target)
    (tmp_path / "pics" / "loop.png").symlink_to("loop.png")
    assert names_below(tmp_path / "pics") == ["a.png", "else/b.png", "loop.png"]
    with pytest.raises(FileNotFoundError, match=r"loop\.png is a link to loop\.png, which is not there$"):
        read_image(tmp_path / "pics" / "loop.png", channels=1)


@pytest.fixture
def somebody():
    """This process is nobody's in particular, since the root user may read every folder."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    yield
    os.seteuid(before)


@pytest.mark.parametrize("mode", [0o000, 0o400])
def test_a_folder_that_may_not_be_read_is_said_to_be_and_the_others_are_listed(somebody, mode):
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "lost+found").mkdir()
        for name in ("a.png", "lost+found/b.png"):
            (place / name).touch()
        (place / "lost+found").chmod(mode)
        try:
            assert list_images(place) == [place / "a.png", place / "lost+found"]
            with pytest.raises(PermissionError):
                read_image(place / "lost+found", channels=1)
        finally:
            (place / "lost+found").chmod(0o700)
