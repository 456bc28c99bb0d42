"""A map of what was seen of a picture lies where it belongs on the picture's own pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from freemcg.files.fitting import cut_share
from freemcg.files.images import onto_picture, read_image


@pytest.mark.parametrize(
    ("width", "height", "seen"),
    [(48, 32, (slice(0, 32), slice(8, 40))), (20, 64, (slice(22, 42), slice(0, 20))), (32, 32, (slice(0, 32),) * 2)],
)
def test_what_was_seen_comes_back_to_its_place_and_the_edges_are_0(width, height, seen, tmp_path):
    """Ramps along both sides: scaling and back leaves them as they are, but for half a pixel of a model at the ends."""
    down, across = np.mgrid[0:height, 0:width]
    picture = (40 + 2 * down + 2 * across).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png", channels=1, size=(16, 16))
    back = onto_picture(image, tmp_path / "a.png")
    assert back.shape == (1, height, width)
    wanted = torch.zeros(1, height, width)
    wanted[(0, *seen)] = torch.from_numpy(picture[seen] / np.float32(255))
    torch.testing.assert_close(back, wanted, rtol=0, atol=5 / 255)
    inner = (..., slice(seen[0].start + 3, seen[0].stop - 3), slice(seen[1].start + 3, seen[1].stop - 3))
    torch.testing.assert_close(back[inner], wanted[inner], rtol=0, atol=1.5 / 255)


@pytest.mark.parametrize(
    ("picture", "wanted", "share"), [((48, 32), (16, 16), 1 / 3), ((48, 32), (64, 96), 0), ((5, 20), None, 0)]
)
def test_the_share_that_is_cut_off(picture, wanted, share):
    assert cut_share(picture, wanted) == pytest.approx(share)
