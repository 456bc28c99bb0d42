from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from PIL import Image

from freemcg.images import list_images, read_image, write_image


@pytest.fixture
def colour(rng):
    """8-bit pixels `(H, W, 3)`, taller than wide."""
    return torch.randint(256, (6, 4, 3), generator=rng).numpy().astype(np.uint8)


@pytest.fixture
def grey(colour):
    return colour[:, :, 0]


def save(array, path, mode=None, **options):
    picture = Image.fromarray(array) if mode is None else Image.fromarray(array).convert(mode)
    picture.save(path, **options)
    return path


def pixels(array):
    """What `read_image` should answer of 8-bit pixels `(H, W)` or `(H, W, 3)`."""
    return torch.from_numpy(np.atleast_3d(array).astype(np.float32)).permute(2, 0, 1) / 255


# --- reading ---


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp"])
def test_colour_is_read_exactly(suffix, colour, tmp_path):
    path = save(colour, tmp_path / f"a.{suffix}", **({"lossless": True} if suffix == "webp" else {}))
    assert torch.equal(read_image(path, channels=3), pixels(colour))


def test_grey_is_read_exactly_and_repeated_for_colour(grey, tmp_path):
    path = save(grey, tmp_path / "a.png")
    assert torch.equal(read_image(path, channels=1), pixels(grey))
    assert torch.equal(read_image(path, channels=3), pixels(grey).repeat(3, 1, 1))


def test_colour_becomes_luma(colour, tmp_path):
    luma = colour.astype(np.float64) @ [0.299, 0.587, 0.114] / 255
    read = read_image(save(colour, tmp_path / "a.png"), channels=1)
    torch.testing.assert_close(read[0].double(), torch.from_numpy(luma), rtol=0, atol=0.51 / 255)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_keeps_its_depth(channels, suffix, tmp_path):
    depth = np.array([[0, 1, 255], [256, 40000, 65535]], dtype=np.uint16)
    read = read_image(save(depth, tmp_path / f"a.{suffix}"), channels=channels)
    expected = torch.from_numpy(depth.astype(np.float64) / 65535).float()
    torch.testing.assert_close(read, expected.expand(channels, 2, 3), rtol=0, atol=1e-7)


def test_black_and_white_is_zero_and_one(tmp_path):
    bits = np.array([[0, 255], [255, 0]], dtype=np.uint8)
    read = read_image(save(bits, tmp_path / "a.png", mode="1"), channels=1)
    assert torch.equal(read, torch.tensor([[[0.0, 1.0], [1.0, 0.0]]]))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("grey_with_alpha", [False, True])
def test_transparency_is_laid_on_white(channels, grey_with_alpha, colour, rng, tmp_path):
    if grey_with_alpha:
        colour = np.repeat(colour[:, :, :1], 3, axis=2)
    alpha = torch.randint(256, (6, 4), generator=rng).numpy().astype(np.uint8)
    alpha[0, :2] = 0, 255
    picture = Image.fromarray(np.dstack([colour, alpha]))
    (picture.convert("LA") if grey_with_alpha else picture).save(tmp_path / "a.png")
    share = alpha[:, :, None].astype(np.float64) / 255
    expected = share * colour / 255 + (1 - share)
    if channels == 1:
        expected = expected @ np.array([[0.299], [0.587], [0.114]])
    read = read_image(tmp_path / "a.png", channels=channels)
    torch.testing.assert_close(read.double(), torch.from_numpy(expected).permute(2, 0, 1), rtol=0, atol=1.1 / 255)
    assert (read[:, 0, 0] == 1).all()


def test_a_palette_with_a_transparent_colour_is_laid_on_white(tmp_path):
    picture = Image.fromarray(np.array([[0, 1], [2, 1]], dtype=np.uint8)).convert("P")
    picture.putpalette([10, 20, 30, 200, 100, 50, 0, 0, 0])
    picture.save(tmp_path / "a.png", transparency=2)
    expected = np.array([[[10, 20, 30], [200, 100, 50]], [[255, 255, 255], [200, 100, 50]]])
    assert torch.equal(read_image(tmp_path / "a.png", channels=3), pixels(expected))


@pytest.mark.parametrize(
    ("orientation", "seen"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.transpose(1, 0, 2)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: a[::-1, ::-1].transpose(1, 0, 2)),
        (8, np.rot90),
    ],
)
def test_the_exif_orientation_is_applied(orientation, seen, colour, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(colour, tmp_path / "a.png", exif=exif)
    assert torch.equal(read_image(path, channels=3), pixels(seen(colour)))


def test_a_jpeg_is_read(tmp_path):
    flat = np.full((16, 16, 3), (200, 60, 30), dtype=np.uint8)
    read = read_image(save(flat, tmp_path / "a.JPG", format="JPEG", quality=95), channels=3)
    torch.testing.assert_close(read, pixels(flat), rtol=0, atol=3 / 255)


@pytest.mark.parametrize(
    ("size", "rows", "columns"), [((4, 4), slice(1, 5), slice(0, 4)), ((6, 2), slice(0, 6), slice(1, 3))]
)
def test_a_picture_that_only_needs_a_crop_is_cropped_at_the_centre(size, rows, columns, colour, tmp_path):
    read = read_image(save(colour, tmp_path / "a.png"), channels=3, size=size)
    assert torch.equal(read, pixels(colour[rows, columns]))


@pytest.mark.parametrize("deep", [False, True])
def test_a_picture_is_scaled_to_cover_the_size(deep, tmp_path):
    """A ramp across a wide picture: its height is halved, so a middle half of its width is left."""
    ramp = np.tile(np.arange(64) * 4.0, (32, 1))
    ramp = (ramp * 257).astype(np.uint16) if deep else ramp.astype(np.uint8)
    read = read_image(save(ramp, tmp_path / "a.png"), channels=1, size=(16, 16))
    expected = (np.arange(16) * 2 + 16.5) * 4 / 255
    torch.testing.assert_close(read[0, 8].double(), torch.from_numpy(expected), rtol=0, atol=1.1 / 255)


# --- what cannot be read ---


def test_what_is_not_there_and_what_is_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"^{re.escape(f'there is no file {tmp_path}/a.png')}$"):
        read_image(tmp_path / "a.png", channels=1)
    with pytest.raises(IsADirectoryError, match=f"^{re.escape(f'{tmp_path} is a folder; name a picture')}$"):
        read_image(tmp_path, channels=1)


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a"])
def test_what_is_no_picture_is_refused(content, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{re.escape(f'{path} is not a picture that Pillow can read')}$"):
        read_image(path, channels=1)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_picture_cut_short_is_refused(suffix, share, rng, tmp_path):
    noise = torch.randint(256, (40, 40, 3), generator=rng).numpy().astype(np.uint8)
    path = save(noise, tmp_path / f"a.{suffix}")
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=rf"^{re.escape(str(path))} cannot be decoded, is it cut short\? \(.+\)$"):
        read_image(path, channels=3)


# --- writing ---


@pytest.mark.parametrize("channels", [1, 3])
def test_written_and_read_again_it_is_the_same(channels, rng, tmp_path):
    image = torch.randint(256, (channels, 5, 7), generator=rng) / 255
    write_image(image, tmp_path / "a.png")
    assert torch.equal(read_image(tmp_path / "a.png", channels=channels), image)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_values_between_two_levels_go_to_the_nearer_one(tmp_path):
    write_image(torch.tensor([[[0.4, 0.6, 200.4, 254.6, 300.0, -20.0]]]) / 255, tmp_path / "a.png")
    read = read_image(tmp_path / "a.png", channels=1) * 255
    torch.testing.assert_close(read.flatten(), torch.tensor([0.0, 1.0, 200.0, 255.0, 255.0, 0.0]))


def test_a_picture_that_is_there_is_replaced(tmp_path):
    for level in (0.2, 0.8):
        write_image(torch.full((1, 2, 2), level), tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", channels=1).mean().item() == pytest.approx(0.8)


# --- folders ---


def test_pictures_of_a_folder_are_listed_in_order(tmp_path):
    for name in ("b/2.PNG", "b/1.jpg", "a.webp", "c.txt", "d.png.partial", "b/e/f.tiff"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    names = [str(path.relative_to(tmp_path)) for path in list_images(tmp_path)]
    assert names == ["a.webp", "b/1.jpg", "b/2.PNG", "b/e/f.tiff"]


def test_a_folder_without_pictures_is_refused(tmp_path):
    (tmp_path / "notes.txt").touch()
    suffixes = ".bmp, .gif, .jpeg, .jpg, .png, .tif, .tiff, .webp"
    with pytest.raises(FileNotFoundError, match=f"^{re.escape(f'{tmp_path} holds no picture ({suffixes})')}$"):
        list_images(tmp_path)
    with pytest.raises(FileNotFoundError, match=f"^{re.escape(f'there is no folder {tmp_path}/x')}$"):
        list_images(tmp_path / "x")


def test_hidden_pictures_and_folders_are_left_out(tmp_path):
    (tmp_path / ".thumbnails").mkdir()
    for name in ("a.png", "._a.png", ".thumbnails/b.png", "..c.png"):
        write_image(torch.zeros(1, 2, 2), tmp_path / name)
    assert [path.name for path in list_images(tmp_path)] == ["..c.png", "a.png"]
