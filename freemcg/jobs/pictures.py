"""The pictures of a job. Each is decoded once: it is looked at before the first query, and kept until its turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from freemcg.diffusion.denoiser import Denoiser
from freemcg.files.fitting import cut_share
from freemcg.files.images import decode, prepare_for, read_for
from freemcg.jobs.items import Item
from freemcg.jobs.unreadable import read_each

KEPT = 2**28  # bytes of pictures; those beyond are decoded again at their turn


@dataclass(frozen=True)
class Look:
    """What was found in pictures.

    Attributes:
        resized: how many are resized.
        cut: the share of each picture whose edges are cut off.
        cleared: how many were transparent in part.
        unreadable: the reason for each picture that cannot be read.
    """

    resized: int = 0
    cut: list[float] = field(default_factory=list)
    cleared: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)


class Pictures:
    """The pictures that this process has looked at, as the denoiser takes them. They take up at most `KEPT` bytes."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser
        self._kept: dict[str, Tensor] = {}
        self._bytes = 0

    def look_at(self, items: Sequence[Item], *, alone: bool) -> Look:
        """Decode each picture whole, and count. What cannot be read is noted, or refused if it is `alone`."""
        looks, unreadable = read_each({item.name: item for item in items}, self._look, alone=alone)
        found = looks.values()
        cut = [share for _, share, _ in found if share > 0]
        return Look(sum(resized for resized, _, _ in found), cut, sum(clear for _, _, clear in found), unreadable)

    def take(self, item: Item) -> Tensor:
        """The picture `(C, H, W)` on the denoiser's device. It is kept no longer."""
        kept = self._kept.pop(item.name, None)
        return read_for(self.denoiser, item.image) if kept is None else kept.to(self.denoiser.device)

    def _look(self, item: Item) -> tuple[bool, float, bool]:
        """Whether a picture is resized, the share of it that is cut off, and whether some of it was transparent."""
        decoded, clear = decode(item.image)
        image = prepare_for(self.denoiser, decoded)
        if self._bytes + image.nbytes <= KEPT:
            _ = item.picture  # the digest is that of the file as it was decoded
            self._kept[item.name], self._bytes = image, self._bytes + image.nbytes
        size = self.denoiser.image_size
        return size not in (None, (decoded.height, decoded.width)), cut_share(decoded.size, size), clear
