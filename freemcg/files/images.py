"""Pictures on disk. They are read as a person sees them, and written whole."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError
from torch import Tensor

from freemcg.files.depth import SIXTEEN_BIT_MODES, loses_bits
from freemcg.files.fitting import on_pixels, seen_box
from freemcg.files.whole import written_whole
from freemcg.messages.errors import InvalidValue, Refusal

MOST_PIXELS = 8192 * 8192


def read_image(path: str | Path, *, channels: int, size: tuple[int, int] | None = None) -> Tensor:
    """Read one picture as `(channels, H, W)`, float in [0, 1].

    The picture is decoded by `decode` and converted to grey or colour. With `size = (H, W)` it is scaled to cover that
    size and cropped at the centre.

    Raises:
        FileNotFoundError, IsADirectoryError, ValueError: as `decode`.
    """
    picture, _ = decode(Path(path))
    return prepare(picture, channels=channels, size=size)


def prepare(picture: Image.Image, *, channels: int, size: tuple[int, int] | None = None) -> Tensor:
    """A decoded picture as `read_image` returns it, `(channels, H, W)`."""
    if picture.mode == "F":
        layers = [picture] * channels
    else:
        layers = list(picture.convert("L" if channels == 1 else "RGB").split())
    if size is not None:
        width_and_height, box = (size[1], size[0]), seen_box(picture.size, size)
        layers = [layer.resize(width_and_height, Image.Resampling.BICUBIC, box) for layer in layers]
    arrays = [np.asarray(layer, dtype=np.float32) / (1 if layer.mode == "F" else 255) for layer in layers]
    return torch.from_numpy(np.stack(arrays)).clamp(0, 1)


def decode(path: Path) -> tuple[Image.Image, bool]:
    """Decode the whole of one picture, and say whether some of it was transparent.

    The EXIF orientation is applied, and transparency is laid on white. Grey of 16 bits or floats keeps its depth: it
    has mode F, in [0, 1].

    Raises:
        FileNotFoundError: there is nothing at `path`.
        IsADirectoryError, PermissionError: `path` is a folder, or one that cannot be read.
        ValueError: the file is no picture, is cut short, is too large or holds several frames. Or its numbers do not
            say what is black, white or transparent. Or it is not of 8 bits, nor plain grey of 16. Or its name is not
            UTF-8.
    """
    if not is_utf_8(path):
        raise InvalidValue(f"{path} has a name that is not UTF-8, which its results could not have; rename it")
    if path.is_dir():
        any(each.is_dir() for each in path.iterdir())  # one that cannot be read raises its own error
        raise IsADirectoryError(f"{path} is a folder; name a picture")
    if not path.is_file():
        if path.is_symlink():
            raise FileNotFoundError(f"{path} is a link to {path.readlink()}, which is not there")
        raise FileNotFoundError(f"there is no file {path}")
    return _decode(path, path)


def is_utf_8(path: Path) -> bool:
    """Whether a path can be written as UTF-8. Others cannot be opened by safetensors."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def decode_bytes(content: bytes, name: str) -> Image.Image:
    """Decode a picture in memory, as `decode` does for a file.

    Raises:
        ValueError: as `decode`. The message calls the picture `name`.
    """
    return _decode(io.BytesIO(content), name)[0]


def _decode(source: Path | io.BytesIO, path: Path | str) -> tuple[Image.Image, bool]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(source) as opened:
                _check_header(path, opened)
                opened.load()
                picture = ImageOps.exif_transpose(opened)
    except Refusal:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InvalidValue(_too_large(path)) from None
    except UnidentifiedImageError as error:
        raise InvalidValue(f"{path} is not a picture that Pillow can read") from error
    except Exception as error:  # decoders raise all kinds at a damaged file
        raise InvalidValue(f"{path} cannot be decoded, is it cut short? ({error})") from error
    if picture.mode == "F":
        _check_range(path, np.asarray(picture))
        return picture, False
    if picture.mode in SIXTEEN_BIT_MODES:
        values = np.array(picture, dtype=np.float32)
        clear = values == picture.info.get("transparency", -1)
        values[clear] = 65535
        return Image.fromarray(values / 65535), bool(clear.any())
    if picture.has_transparency_data:
        picture = (picture.convert("LA") if picture.mode == "La" else picture).convert("RGBA")
        darkest, _ = picture.getchannel("A").getextrema()
        return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture), darkest != 255
    return (picture.convert("RGB") if picture.mode == "LAB" else picture), False  # Pillow turns none into grey


def _check_header(path: Path | str, opened: Image.Image) -> None:
    """Refuse, before decoding, a picture that would be read in part, wrongly, or not at all."""
    if opened.width * opened.height > MOST_PIXELS:
        raise InvalidValue(_too_large(path))
    frames = getattr(opened, "n_frames", 1)
    if frames > 1 and opened.format != "MPO":  # an MPO is a photograph, followed by previews of it
        raise InvalidValue(f"{path} holds {frames} frames; save the one to explain as a picture of its own")
    if isinstance(opened, TiffImagePlugin.TiffImageFile):
        _check_tiff(path, opened.tag_v2)
    elif opened.mode == "I" and opened.format not in ("PNG", "PPM"):  # Pillow scales the 16 bits of these two
        raise InvalidValue(_white_is_unknown(path, 32))
    if loses_bits(opened):
        raise InvalidValue(
            f"{path} has channels of another depth than 8 bits, which would not be read exactly; save it with 8, or as "
            "grey of 16 bits without transparency"
        )


def _check_tiff(path: Path | str, tags: TiffImagePlugin.ImageFileDirectory_v2) -> None:
    depth, kinds, bands = max(tags.get(258, (1,))), tags.get(339, (1,)), tags.get(277, 1)
    meaning, extra, planar = tags.get(262, 0), tags.get(338, ()), tags.get(284) == 2
    if 2 in kinds:
        raise InvalidValue(_white_is_unknown(path, depth, "signed "))
    if 3 not in kinds and depth not in (1, 2, 4, 8, 16):
        raise InvalidValue(_white_is_unknown(path, depth))
    if meaning == 0 and depth > 8:
        raise InvalidValue(f"{path} stores white as 0 in {depth} bits, which is not read; save it with black as 0")
    colours = {2: 3, 5: 4, 6: 3, 8: 3}.get(meaning, 1)
    if bands > colours and (bands > colours + 1 or extra not in ((1,), (2,))):
        raise InvalidValue(
            f"{path} has {bands} bands; save it with {colours}, or with one more that the file declares as transparency"
        )
    if planar and bands > 1 and (meaning, bands, depth) != (2, 3, 8):
        raise InvalidValue(f"{path} stores its {bands} bands one after another; save them interleaved")


def _check_range(path: Path | str, values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise InvalidValue(f"{path} holds NaN or infinity; save it with numbers in [0, 1]")
    low, high = values.min(), values.max()
    if low < 0 or high > 1:
        raise InvalidValue(
            f"{path} holds numbers from {low:.9g} to {high:.9g}; scale them into [0, 1], or save it with 8 or 16 bits"
        )


def _too_large(path: Path | str) -> str:
    return f"{path} has more than {MOST_PIXELS:,} pixels; scale it down first"


def _white_is_unknown(path: Path | str, depth: int, sign: str = "") -> str:
    return (
        f"{path} holds {sign}integers of {depth} bits, which do not say what is white; save it with 8 or 16, unsigned"
    )


class Prior(Protocol):
    """The denoiser that a picture is read for: its channels, its size and its device."""

    @property
    def channels(self) -> int | None: ...  # noqa: D102
    @property
    def image_size(self) -> tuple[int, int] | None: ...  # noqa: D102
    @property
    def device(self) -> torch.device: ...  # noqa: D102


def read_for(denoiser: Prior, path: str | Path) -> Tensor:
    """Read one picture as every job does: with the channels and the size of the denoiser, on its device."""
    picture, _ = decode(Path(path))
    return prepare_for(denoiser, picture).to(denoiser.device)


def prepare_for(denoiser: Prior, picture: Image.Image) -> Tensor:
    """A decoded picture with the channels and the size of the denoiser, `(C, H, W)` on the CPU."""
    return prepare(picture, channels=denoiser.channels or 3, size=denoiser.image_size)


def onto_picture(values: Tensor, path: str | Path) -> Tensor:
    """Values `(C, H, W)` of an explained picture, such as a map, on the pixels of its file, `(C, height, width)`.

    It undoes what `read_for` does to a picture of another size. Where an edge was cut off, the values are 0.
    """
    picture, _ = decode(Path(path))
    return on_pixels(values, picture.size)


def is_in_colour(path: Path) -> bool:
    """Whether any pixel of a picture has a colour. A file that cannot be read has none.

    Grey pictures are often stored with three channels; they have no colour.
    """
    try:
        red, green, blue = (channel.tobytes() for channel in decode(path)[0].convert("RGB").split())
    except (Refusal, OSError):
        return False
    return not red == green == blue


def is_whole(path: Path) -> bool:
    """Whether a picture is there and its own checksums show no damage."""
    try:
        with Image.open(path) as picture:
            picture.verify()
    except Exception:  # Pillow raises many kinds of exceptions
        return False
    return True


def write_image(image: Tensor, path: Path) -> None:
    """Write `(C, H, W)` in [0, 1] as an 8-bit PNG, whole or not at all."""
    array = (image.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    picture = Image.fromarray(array[0] if len(array) == 1 else array.transpose(1, 2, 0))
    with written_whole(path) as partial:
        picture.save(partial, format="PNG")
