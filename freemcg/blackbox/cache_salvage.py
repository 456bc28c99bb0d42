"""The sound answers of a damaged cache, read from the pages of the file without sqlite, which gives up at any fault.

A page of 4,096 bytes lists where its rows begin. A row holds its four values one after another; what does not fit into
the page goes on in a chain of others. The log beside the file holds newer versions of some pages. All of it is the
file format of sqlite (https://sqlite.org/fileformat2.html). No number in a damaged file is trusted: a row counts if its
checksum is right.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from freemcg.blackbox.cache_file import parts, unpacked

Row = tuple[str, str, bytes, bytes]

PAGE = 4096
FILE_HEADER, LOG_HEADER, FRAME_HEADER = 100, 32, 24
MOST_IN_PAGE = (PAGE - 12) * 64 // 255 - 23  # bytes of a row that has no chain
LEAST_IN_PAGE = (PAGE - 12) * 32 // 255 - 23


def sound_rows(path: Path) -> Iterator[Row]:
    """Every row that is whole: model, scores, image and packed answer. A row in several versions may come twice."""
    pages = _pages(path)
    for number, page in pages.items():
        start = FILE_HEADER if number == 1 else 0
        count = int.from_bytes(page[start + 3 : start + 5], "big")
        for header, link in ((8, 0), (12, 4)):  # of a leaf, and of an inner page; the byte that tells may be damaged
            for place in _places(page, start + header, count):
                row = _row(_body(page, place + link, pages))
                if row is not None and unpacked(*row) is not None:
                    yield row


def _pages(path: Path) -> dict[int, bytes]:
    """The pages by their numbers, from 1. A page of the log replaces that of the file."""
    file, log, _ = (part.read_bytes() if part.is_file() else b"" for part in parts(path))
    pages = {1 + at // PAGE: file[at : at + PAGE] for at in range(0, len(file), PAGE)}
    frames = [log[at : at + FRAME_HEADER + PAGE] for at in range(LOG_HEADER, len(log), FRAME_HEADER + PAGE)]
    for frame in frames[: _length(frames)]:
        pages[int.from_bytes(frame[:4], "big")] = frame[FRAME_HEADER:]
    return {number: page for number, page in pages.items() if len(page) == PAGE}


def _length(frames: list[bytes]) -> int:
    """How many frames belong to the log. Those behind are left from an earlier one, and have other salts."""
    salts = [frame[8:16] for frame in frames]
    return max((index + 1 for index, salt in enumerate(salts) if salt == salts[0]), default=0)


def _places(page: bytes, start: int, count: int) -> Iterator[int]:
    """Where the rows begin, as the list at `start` says."""
    for at in range(start, min(start + 2 * count, PAGE - 1), 2):
        yield int.from_bytes(page[at : at + 2], "big")


def _body(page: bytes, place: int, pages: dict[int, bytes]) -> bytes:
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
