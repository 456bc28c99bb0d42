from __future__ import annotations

import os
import re
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile, UnidentifiedImageError, features

from freemcg.files.images import decode, read_image, write_image
from freemcg.messages.errors import InvalidValue


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


def save_tiff(path, array, planar=1, **tags):
    """Write any numbers `(H, W)` or `(H, W, bands)` as an uncompressed TIFF. `tags` holds ExtraSamples and the like."""
    array = np.atleast_3d(array)
    rows, columns, bands = array.shape
    parts = [array] if planar == 1 else [array[:, :, band] for band in range(bands)]
    sizes = [part.nbytes for part in parts]
    entries = {
        256: [columns],
        257: [rows],
        258: [8 * array.itemsize] * bands,
        259: [1],
        262: [tags.get("photometric", 2 if bands > 2 else 1)],
        273: [8 + sum(sizes[:index]) for index in range(len(sizes))],
        277: [bands],
        278: [rows],
        279: sizes,
        284: [planar],
        338: tags.get("extra", []),
        339: [{"u": 1, "i": 2, "f": 3}[array.dtype.kind]] * bands,
    }
    entries = {tag: values for tag, values in entries.items() if values}
    lists, directory = b"", struct.pack("<H", len(entries))
    for tag, values in entries.items():
        packed = struct.pack(f"<{len(values)}I", *values)
        where = struct.pack("<I", 8 + sum(sizes) + len(lists))
        directory += struct.pack("<HHI", tag, 4, len(values)) + (packed if len(values) == 1 else where)
        lists += packed if len(values) > 1 else b""
    start = struct.pack("<4sI", b"II*\0", 8 + sum(sizes) + len(lists))
    path.write_bytes(start + b"".join(part.tobytes() for part in parts) + lists + directory + bytes(4))
    return path


def pixels(array):
    """The image that `read_image` should return for 8-bit pixels `(H, W)` or `(H, W, 3)`."""
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


@pytest.mark.parametrize("channels", [1, 3])
def test_floats_from_0_to_1_are_read_exactly(channels, rng, tmp_path):
    values = torch.rand(6, 4, generator=rng)
    values[0, :2] = torch.tensor([0.0, 1.0])
    read = read_image(save(values.numpy(), tmp_path / "a.tif"), channels=channels)
    assert torch.equal(read, values.expand(channels, 6, 4))


def test_planar_colour_is_read_whole(colour, tmp_path):
    assert torch.equal(read_image(save_tiff(tmp_path / "a.tif", colour, planar=2), channels=3), pixels(colour))


def test_16_bits_that_an_older_pillow_opens_as_integers_keep_their_depth(tmp_path):
    (tmp_path / "a.pgm").write_bytes(b"P5 2 1 65535 " + struct.pack(">2H", 40000, 65535))
    with Image.open(tmp_path / "a.pgm") as opened:
        assert opened.mode == "I"
    assert read_image(tmp_path / "a.pgm", channels=1).flatten().tolist() == pytest.approx([40000 / 65535, 1], abs=1e-7)


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


def test_a_transparent_grey_of_16_bits_is_laid_on_white(tmp_path):
    depth = np.array([[7, 300], [300, 65535]], dtype=np.uint16)
    read = read_image(save(depth, tmp_path / "a.png", transparency=300), channels=1)
    torch.testing.assert_close(read, torch.tensor([[[7 / 65535, 1], [1, 1]]]), rtol=0, atol=1e-7)


@pytest.mark.parametrize("extra", [1, 2])
def test_a_band_that_a_tiff_declares_as_transparency_is_laid_on_white(extra, grey, tmp_path):
    """Half of a grey file is clear. With `extra=1` its grey is stored multiplied by the alpha."""
    alpha = np.where(np.arange(4) < 2, 0, 255).astype(np.uint8) * np.ones_like(grey)
    path = save_tiff(
        tmp_path / "a.tif", np.dstack([grey * (alpha == 255) if extra == 1 else grey, alpha]), extra=[extra]
    )
    assert torch.equal(read_image(path, channels=1), pixels(np.where(alpha == 255, grey, 255)))
    assert decode(path)[1]


def test_an_opaque_alpha_is_no_transparency(colour, tmp_path):
    opaque = np.dstack([colour, np.full_like(colour[:, :, 0], 255)])
    assert not decode(save(opaque, tmp_path / "a.png"))[1]


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
    """The height of a wide picture with a ramp is halved, so the middle half of its width is left."""
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


def test_a_tiff_whose_second_frame_is_damaged_is_refused(tmp_path):
    path = save_tiff(tmp_path / "a.tif", np.zeros((4, 4), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:-4] + struct.pack("<I", 8))  # the directory now lies in zeros: it is empty
    with pytest.raises(InvalidValue, match=r"cannot be decoded, is it cut short\? \(Missing dimensions\)$"):
        read_image(path, channels=1)


@pytest.mark.parametrize("suffix", ["gif", "png", "tif", "webp"])
def test_a_picture_of_several_frames_is_refused(suffix, rng, tmp_path):
    frames = [Image.fromarray(torch.randint(256, (6, 4, 3), generator=rng).numpy().astype(np.uint8)) for _ in range(3)]
    path = tmp_path / f"a.{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with pytest.raises(InvalidValue) as caught:
        read_image(path, channels=3)
    assert str(caught.value) == f"{path} holds 3 frames; save the one to explain as a picture of its own"


def test_a_photograph_with_a_preview_behind_it_is_read(tmp_path):
    flat = Image.new("RGB", (16, 16), (200, 60, 30))
    flat.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[flat.resize((8, 8))], quality=95)
    assert read_image(tmp_path / "a.jpg", channels=3).shape == (3, 16, 16)


@pytest.mark.parametrize("side", [8193, 12000, 40000])
@pytest.mark.parametrize("action", ["default", "ignore"])
def test_too_many_pixels_are_refused_before_they_are_decoded(side, action, tmp_path, monkeypatch):
    """Only the header holds such a size. Pillow itself warns of the second and refuses the third."""
    path = save(np.zeros((1, 1), dtype=np.uint8), tmp_path / "a.bmp")
    content = bytearray(path.read_bytes())
    content[18:26] = struct.pack("<2i", side, side)
    path.write_bytes(content)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter(action)
        with pytest.raises(InvalidValue) as caught:
            read_image(path, channels=1)
    assert str(caught.value) == f"{path} has more than 67,108,864 pixels; scale it down first"
    assert not said


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0, 0.5, 255], "holds numbers from 0 to 255; scale them into [0, 1], or save it with 8 or 16 bits"),
        ([-0.25, 0.5, 1], "holds numbers from -0.25 to 1; scale them into [0, 1], or save it with 8 or 16 bits"),
        ([0, np.nan, 1], "holds NaN or infinity; save it with numbers in [0, 1]"),
        ([0, np.inf, 1], "holds NaN or infinity; save it with numbers in [0, 1]"),
    ],
)
def test_floats_that_do_not_lie_from_0_to_1_are_refused(values, words, tmp_path):
    path = save(np.array([values], dtype=np.float32), tmp_path / "a.tif")
    with pytest.raises(InvalidValue) as caught:
        read_image(path, channels=1)
    assert str(caught.value) == f"{path} {words}"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("i4", "signed integers of 32"),
        ("u4", "integers of 32"),
        ("i2", "signed integers of 16"),
        ("i1", "signed integers of 8"),
    ],
)
def test_integers_that_do_not_say_what_is_white_are_refused(kind, words, tmp_path):
    path = save_tiff(tmp_path / "a.tif", np.array([[3, 100]]).astype(kind))
    with pytest.raises(InvalidValue) as caught:
        read_image(path, channels=1)
    assert str(caught.value) == (
        f"{path} holds {words} bits, which do not say what is white; save it with 8 or 16, unsigned"
    )


needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")


def save_deep_png(path, array):
    """Write `(H, W, bands)` of 16 bits as a PNG: grey, grey with alpha, colour, or colour with alpha."""
    rows, columns, bands = array.shape
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    header = struct.pack(">IIBBBBB", columns, rows, 16, {1: 0, 2: 4, 3: 2, 4: 6}[bands], 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    parts = [struct.pack(">I", len(data)) + kind + data for kind, data in chunks]
    checked = [part + struct.pack(">I", zlib.crc32(part[4:])) for part in parts]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(checked))
    return path


def save_deep_ppm(path, array, white=65535):
    rows, columns, _ = array.shape
    path.write_bytes(f"P6 {columns} {rows} {white} ".encode() + array.astype(">u2").tobytes())
    return path


def save_deep_sgi(path, array):
    header = struct.pack(">hBBHHHH", 474, 0, 2, 3, *array.shape[1::-1], array.shape[2]).ljust(512, b"\0")
    path.write_bytes(header + array.transpose(2, 0, 1).astype(">u2").tobytes())
    return path


def save_jpeg_2000(path, array, bits):
    """Write a JPEG 2000 whose header tells `bits` for each channel; 128 more mean signed numbers."""
    Image.fromarray(array.squeeze(axis=2) if array.shape[2] == 1 else array).save(path, "JPEG2000")
    content = bytearray(path.read_bytes())
    channels = array.shape[2]
    start = content.index(b"\xff\x4f\xff\x51") + 42
    content[start : start + 3 * channels : 3] = bytes([bits - 1]) * channels
    path.write_bytes(content)
    return path


def save_avif(path, bits):
    """Write an AVIF whose headers tell `bits`, 8 or 10, for each channel."""
    Image.fromarray(np.full((8, 8, 3), 9, dtype=np.uint8)).save(path, "AVIF")
    content = bytearray(path.read_bytes())
    if bits == 10:
        content[content.index(b"av1C") + 6] |= 0x40
        start = content.index(b"pixi") + 9
        content[start : start + 3] = bytes([bits]) * 3
    path.write_bytes(content)
    return path


DEEP = np.array([[[300, 40000, 65535, 9], [1, 129, 65407, 9]]], dtype=np.uint16)


@pytest.mark.parametrize(
    "written",
    [
        lambda place: save_deep_png(place / "a.png", DEEP[:, :, :3]),
        lambda place: save_deep_png(place / "a.png", DEEP),
        lambda place: save_deep_png(place / "a.png", DEEP[:, :, :2]),
        lambda place: save_tiff(place / "a.tif", DEEP[:, :, :3]),
        lambda place: save_tiff(place / "a.tif", DEEP, extra=[2]),
        lambda place: save_tiff(place / "a.tif", DEEP, photometric=5),
        lambda place: save_deep_ppm(place / "a.ppm", DEEP[:, :, :3]),
        lambda place: save_deep_ppm(place / "a.ppm", DEEP[:, :, :3] // 64, 1023),
        lambda place: save_deep_sgi(place / "a.rgb", DEEP[:, :, :3]),
        lambda place: save_jpeg_2000(place / "a.jp2", DEEP[:, :, :3].astype(np.uint8), 12),
        lambda place: save_jpeg_2000(place / "a.j2k", DEEP[:, :, :1], 12),
        lambda place: save_jpeg_2000(place / "a.png", DEEP[:, :, :1], 128 + 16),
        lambda place: save_jpeg_2000(place / "a.jp2", DEEP[:, :, :1].astype(np.uint8), 4),
        pytest.param(lambda place: save_avif(place / "a.avif", 10), marks=needs_avif),
    ],
    ids=[
        *("png", "png-rgba", "png-grey-alpha", "tif", "tif-rgba", "tif-cmyk", "ppm", "ppm-10", "sgi"),
        *("jpeg-2000", "jpeg-2000-grey", "jpeg-2000-signed", "jpeg-2000-4-bits", "avif"),
    ],
)
def test_what_would_lose_bits_is_refused(written, tmp_path):
    path = written(tmp_path)
    with pytest.raises(InvalidValue) as caught:
        read_image(path, channels=3)
    assert str(caught.value) == (
        f"{path} has channels of another depth than 8 bits, which would not be read exactly; save it with 8, or as "
        "grey of 16 bits without transparency"
    )


@pytest.mark.parametrize(
    "array", [DEEP[:, :, :1], DEEP[:, :, :1].astype(np.uint8), DEEP[:, :, :3].astype(np.uint8)], ids=["16", "8", "rgb"]
)
@pytest.mark.parametrize("name", ["a.jp2", "a.j2k"])
def test_jpeg_2000_of_8_bits_or_grey_of_16_is_read_exactly(array, name, tmp_path):
    Image.fromarray(array.squeeze(axis=2) if array.shape[2] == 1 else array).save(tmp_path / name)
    read = read_image(tmp_path / name, channels=array.shape[2])
    wanted = array.transpose(2, 0, 1) / np.float32(np.iinfo(array.dtype).max)
    torch.testing.assert_close(read, torch.from_numpy(wanted), rtol=0, atol=1e-6)


@needs_avif
def test_avif_of_8_bits_is_read(tmp_path):
    read = read_image(save_avif(tmp_path / "a.avif", 8), channels=3)
    torch.testing.assert_close(read, torch.full((3, 8, 8), 9 / 255), rtol=0, atol=2 / 255)


@pytest.mark.parametrize("lightness", [0, 128, 255])
def test_lab_is_read_as_rgb_and_as_grey(tmp_path, lightness):
    """By the formulas of CIE 1976 and of sRGB (IEC 61966-2-1)."""
    Image.new("LAB", (4, 6), (lightness, 128, 128)).save(tmp_path / "a.tif")
    linear = ((lightness / 2.55 + 16) / 116) ** 3 if lightness else 0.0
    level = 1.055 * linear ** (1 / 2.4) - 0.055 if lightness else 0.0
    for channels in (1, 3):
        read = read_image(tmp_path / "a.tif", channels=channels)
        torch.testing.assert_close(read, torch.full((channels, 6, 4), level), rtol=0, atol=1.5 / 255)


def test_fewer_than_8_bits_are_read(tmp_path):
    bits = np.array([[[31, 0, 0], [0, 16, 31]]])
    packed = (bits @ [1 << 10, 1 << 5, 1]).astype("<u2").tobytes()
    header = struct.pack("<IiiHHIIiiII", 40, 2, 1, 1, 16, 0, len(packed), 0, 0, 0, 0)
    (tmp_path / "a.bmp").write_bytes(struct.pack("<2sIII", b"BM", 54 + len(packed), 0, 54) + header + packed)
    read = read_image(tmp_path / "a.bmp", channels=3)
    torch.testing.assert_close(read, torch.from_numpy(bits).permute(2, 0, 1) / 31, rtol=0, atol=1 / 255)
    (tmp_path / "a.ppm").write_bytes(b"P6 1 1 15 " + bytes([3, 4, 15]))
    assert (read_image(tmp_path / "a.ppm", channels=3).flatten() * 15).tolist() == pytest.approx([3, 4, 15])


def test_white_stored_as_0_is_refused_where_it_would_be_read_as_black(tmp_path):
    path = save_tiff(tmp_path / "a.tif", np.array([[3, 100]], dtype=np.uint16), photometric=0)
    with pytest.raises(
        InvalidValue, match=r"stores white as 0 in 16 bits, which is not read; save it with black as 0$"
    ):
        read_image(path, channels=1)


@pytest.mark.parametrize(("bands", "extra"), [(4, []), (4, [0]), (5, [2, 0]), (5, [0, 0]), (2, [0])])
@pytest.mark.parametrize("planar", [1, 2])
def test_a_band_that_is_no_colour_and_not_declared_as_transparency_is_refused(bands, extra, planar, colour, tmp_path):
    path = save_tiff(tmp_path / "a.tif", np.dstack([colour, colour])[:, :, :bands], planar=planar, extra=extra)
    try:
        Image.open(path).close()
    except UnidentifiedImageError:
        words = "is not a picture that Pillow can read"
    else:
        colours = 3 if bands > 2 else 1
        words = f"has {bands} bands; save it with {colours}, or with one more that the file declares as transparency"
    with pytest.raises(InvalidValue) as caught:
        read_image(path, channels=3)
    assert str(caught.value) == f"{path} {words}"


@pytest.mark.parametrize(("bands", "kind", "extra"), [(3, np.uint16, []), (4, np.uint8, [2])])
def test_a_planar_file_that_pillow_mixes_up_is_refused(bands, kind, extra, colour, tmp_path):
    array = np.dstack([colour, colour])[:, :, :bands].astype(kind)
    path = save_tiff(tmp_path / "a.tif", array, planar=2, extra=extra)
    with pytest.raises(InvalidValue, match=f"stores its {bands} bands one after another; save them interleaved$"):
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


def test_a_name_that_is_not_utf_8_is_refused(tmp_path):
    path = tmp_path / os.fsdecode(b"\xff.png")
    write_image(torch.zeros(1, 2, 2), tmp_path / "a.png")
    (tmp_path / "a.png").rename(path)
    with pytest.raises(
        InvalidValue, match=r"has a name that is not UTF-8, which its results could not have; rename it$"
    ):
        read_image(path, channels=1)
