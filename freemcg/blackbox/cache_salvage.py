"""The sound answers of a damaged cache, read from the pages of the file without sqlite, which gives up at any fault.

A page of 4,096 bytes lists where its rows begin. A row holds its four values one after another; what does not fit into
the page goes on in a chain of others. The log beside the file holds newer versions of some pages. All of it is the
file format of sqlite (https://sqlite.org/fileformat2.html). No number in a damaged file is trusted: a row counts if its
checksum is right.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from freemcg.blackbox.cache_file import parts, unpacked

Row = tuple[str, str, bytes, bytes]
Pages = dict[int, bytes]

PAGE = 4096
FILE_HEADER, LOG_HEADER, FRAME_HEADER = 100, 32, 24
FRAME = FRAME_HEADER + PAGE
HEADERS = ((8, 0), (12, 4))  # bytes of a page's header and before a row: of a leaf, and of an inner page
BIG_ENDIAN = b"\x83"  # the last byte of the log's first number, if its checksums take words so
MOST_IN_PAGE = (PAGE - 12) * 64 // 255 - 23  # bytes of a row that has no chain
LEAST_IN_PAGE = (PAGE - 12) * 32 // 255 - 23


def sound_rows(path: Path) -> Iterator[Row]:
    """Every row that is whole: model, scores, image and packed answer. A row may come more than once."""
    for pages in _states(path):
        for number, page in pages.items():
            start = FILE_HEADER if number == 1 else 0
            if not page[start]:  # a page in a chain begins so, and lists no rows
                continue
            count = int.from_bytes(page[start + 3 : start + 5], "big")
            for header, link in HEADERS:
                for place in _places(page, start + header, count):
                    row = _row(_body(page, place + link, pages))
                    if row is not None and unpacked(*row) is not None:
                        yield row


def _states(path: Path) -> Iterator[Pages]:
    """The pages by their numbers, from 1: with all that the log holds, and, if that is another, as sqlite reads it.

    A page of the log replaces that of the file. Sqlite reads the log up to its first fault, and then back to the end of
    what was written at once.
    """
    file, log, _ = (part.read_bytes() if part.is_file() else b"" for part in parts(path))
    newest = {1 + at // PAGE: file[at : at + PAGE].ljust(PAGE, b"\0") for at in range(0, len(file), PAGE)}
    order = ">" if log[3:4] == BIG_ENDIAN else "<"
    frames = [log[at : at + FRAME] for at in range(LOG_HEADER, len(log) - FRAME + 1, FRAME)]
    salts = {log[16:24], *(frame[8:16] for frame in frames[:1])}  # other salts are those of an earlier log
    before, readable, faultless = log[24:32], dict(newest), True
    for frame in frames:
        if frame[8:16] not in salts:
            continue
        faultless = faultless and frame[16:24] == _checksum(frame[:8] + frame[FRAME_HEADER:], before, order)
        before = frame[16:24]
        newest[int.from_bytes(frame[:4], "big")] = frame[FRAME_HEADER:]
        if faultless and any(frame[4:8]):  # the last of what was written at once
            readable = dict(newest)
    yield newest
    if readable != newest:
        yield readable


def _checksum(data: bytes, before: bytes, order: str) -> bytes:
    """The checksum of a frame, which goes on from that of the frame before."""
    one, two = struct.unpack(">2I", before.ljust(8, b"\0"))
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for first, second in zip(words[::2], words[1::2], strict=True):
        one = (one + first + two) & 0xFFFFFFFF
        two = (two + second + one) & 0xFFFFFFFF
    return struct.pack(">2I", one, two)


def _places(page: bytes, start: int, count: int) -> Iterator[int]:
    """Where the rows begin, as the list at `start` says. Bits beyond the page's size tell nothing, also for sqlite."""
    for at in range(start, min(start + 2 * count, PAGE - 1), 2):
        yield int.from_bytes(page[at : at + 2], "big") % PAGE


def _body(page: bytes, place: int, pages: Pages) -> bytes:
    """A row's bytes, with those that other pages hold. Fewer if they cannot be found."""
    length, place = _number(page, place)
    if length <= MOST_IN_PAGE:
        return page[place : place + length]
    here = LEAST_IN_PAGE + (length - LEAST_IN_PAGE) % (PAGE - 4)
    here = here if here <= MOST_IN_PAGE else LEAST_IN_PAGE
    body, link = page[place : place + here], page[place + here : place + here + 4]
    for _ in range(len(pages)):
        further = pages.get(int.from_bytes(link, "big"))
        if len(body) >= length or further is None:
            break
        body, link = body + further[4:], further[:4]
    return body[:length]


def _row(body: bytes) -> Row | None:
    """The four values of a row, if it has a text, a text, bytes and bytes."""
    end, at = _number(body, 0)
    kinds = []
    while at < min(end, len(body)):
        kind, at = _number(body, at)
        kinds.append(kind)
    if len(kinds) != 4 or min(kinds) < 12 or [kind % 2 for kind in kinds] != [1, 1, 0, 0]:
        return None
    values = []
    for kind in kinds:
        length = (kind - 12) // 2
        values.append(body[at : at + length])
        at += length
    model, scores = (value.decode(errors="replace") for value in values[:2])
    return model, scores, values[2], values[3]


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A number of 1 to 9 bytes, and where it ends. The first bit of a byte tells whether more follow."""
    number = 0
    for index, byte in enumerate(data[at : at + 9]):
        if index == 8:
            return number << 8 | byte, at + 9
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            return number, at + index + 1
    return 0, len(data)
