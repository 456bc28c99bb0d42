"""The bits in each channel of a picture. Pillow may keep 8 of them without a word."""

from __future__ import annotations

import re
import struct

from PIL import Image

SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")
CUT_TO_8_BITS = re.compile(r"(?!BGR).*;16[BLN]?$|SGI16$")  # Pillow's names of a layout; its BGR;16 has 5 or 6 bits
SIZE_MARKER = b"\xff\x4f\xff\x51"
"""The beginning of a JPEG 2000 codestream and the marker of its sizes (ISO 15444-1, A.5.1)."""
AV1_SETTINGS = re.compile(rb"av1C\x81(?s:.)(?s:(.))")
"""The settings of an image in AVIF (AV1 Codec ISO Media File Format Binding, 2.3.3). Its third byte tells the depth."""
HIGH_BIT_DEPTH = 0x40


def loses_bits(opened: Image.Image) -> bool:
    """Whether Pillow would change the numbers of a picture that is opened, and not yet decoded.

    It keeps 8 bits of any deeper channel, save those of 16-bit grey. In JPEG 2000 it shifts numbers of fewer than 8 or
    16 bits up, so that white is not quite white.
    """
    if opened.format == "JPEG2000":
        return not set(_jpeg_2000_depths(_content(opened))) <= ({16, 8} if opened.mode == "I;16" else {8})
    if opened.format == "AVIF":
        return any(found[1][0] & HIGH_BIT_DEPTH for found in AV1_SETTINGS.finditer(_content(opened)))
    return opened.mode not in SIXTEEN_BIT_MODES and any(_is_deep(tile) for tile in getattr(opened, "tile", ()))


def _is_deep(tile: tuple[str, object, int, object]) -> bool:
    """Whether a tile has more than 8 bits in a channel, by the codec and the layout that Pillow decodes it with."""
    layout, *rest = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
    if tile[0] == "ppm" and rest[-1] > 255:
        return True
    return any(isinstance(name, str) and CUT_TO_8_BITS.match(name) is not None for name in (tile[0], layout))


def _content(opened: Image.Image) -> bytes:
    """The whole file of a picture that is open. Its place in the file stays."""
    stream = opened.fp  # type: ignore[attr-defined]
    place = stream.tell()
    stream.seek(0)
    content: bytes = stream.read()
    stream.seek(place)
    return content


def _jpeg_2000_depths(content: bytes) -> list[int]:
    """The bits in each channel; signed ones count negative. There is none if the sizes cannot be found."""
    start = content.find(SIZE_MARKER)
    if start < 0:
        return []
    (channels,) = struct.unpack_from(">H", content, start + 40)
    each = content[start + 42 : start + 42 + 3 * channels : 3]
    return [(1 + (depth & 0x7F)) * (-1 if depth & 0x80 else 1) for depth in each]
