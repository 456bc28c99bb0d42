"""Pictures that cannot be read. They are named and left out before the first query, unless none is left."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from freemcg.jobs.listing import Listing
from freemcg.messages.errors import InvalidValue, Refusal, sentence_of
from freemcg.messages.terminal import say

T = TypeVar("T")
Source = TypeVar("Source")

SHOWN_REASONS = 20


def read_each(
    pictures: Mapping[str, Source], read: Callable[[Source], T], *, alone: bool, enough: int | None = None
) -> tuple[dict[str, T], dict[str, str]]:
    """Read each picture. Return what was read, and the reason for each that cannot be read, both by name.

    Args:
        pictures: the file or item of each picture, by name.
        alone: whether the picture was named by itself. Then it is refused if it cannot be read.
        enough: the number of pictures to read; `None` reads all.
    """
    found, unreadable = dict[str, T](), dict[str, str]()
    for name, picture in pictures.items():
        if len(found) == enough:
            break
        try:
            found[name] = read(picture)
        except (Refusal, OSError) as error:
            if alone:
                raise
            unreadable[name] = sentence_of(error)
    return found, unreadable


def check_some_are_left(listing: Listing, reasons: Iterable[str]) -> None:
    """Refuse a folder none of whose pictures can be read.

    Raises:
        ValueError: there are as many reasons as pictures.
    """
    said = sorted(reasons)
    if len(said) == len(listing.files):
        raise InvalidValue(f"no picture of {listing.named} can be read; the first: {said[0]}")


def say_unreadable(reasons: Iterable[str]) -> None:
    """Name the pictures that cannot be read, before the first query. There may be none."""
    said = sorted(reasons)
    if said:
        rest = [f"and {len(said) - SHOWN_REASONS} more"] if len(said) > SHOWN_REASONS else []
        say(f"left out, cannot be read: {len(said)} of them", *said[:SHOWN_REASONS], *rest, err=True)


def say_left_out(unreadable: int, images: int) -> None:
    """Say at the end how many pictures were left out. There may be none."""
    if unreadable:
        say(
            f"left out: {unreadable} of {images} images, which cannot be read, as said at the start; mend or "
            "remove them, and start again",
            err=True,
        )
