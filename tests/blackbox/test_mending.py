"""A picture in another form is refused with a line of code. The tests run that line, and it gives the right images."""

from __future__ import annotations

import re

import numpy
import numpy as np
import pytest
import torch
from PIL import Image
from plane import make

import freemcg.files.images
from freemcg import BlackBox
from freemcg.blackbox import check_images

LEVELS = np.random.default_rng(7).integers(0, 256, (6, 5, 3)).astype(np.uint8)
LEVELS[0, 0], LEVELS[0, 1] = 0, 255
ONE = torch.from_numpy(LEVELS).permute(2, 0, 1)[None].float() / 255
GREY = torch.from_numpy(LEVELS[:, :, 0])[None, None].float() / 255


class OtherArray:
    """An array of another library."""

    def __array__(self, dtype=None, copy=None):
        return LEVELS


FORMS = {
    "numpy HWC uint8": (LEVELS, ONE),
    "numpy HWC float 0..255": (LEVELS.astype(np.float32), ONE),
    "numpy HWC float": (LEVELS / 255, ONE),
    "numpy CHW uint8": (LEVELS.transpose(2, 0, 1), ONE),
    "numpy NHWC uint8": (LEVELS[None].repeat(2, axis=0), ONE.expand(2, -1, -1, -1)),
    "numpy NCHW int64": (LEVELS.transpose(2, 0, 1)[None].astype(np.int64), ONE),
    "numpy HW uint8": (LEVELS[:, :, 0], GREY),
    "numpy uint16": ((LEVELS.astype(np.uint16) * 257), ONE),
    "numpy reversed channels": (LEVELS[:, :, ::-1], ONE.flip(1)),
    "numpy RGBA": (np.dstack([LEVELS, np.full((6, 5), 255, dtype=np.uint8)]), ONE),
    "numpy bool": (LEVELS > 99, (ONE > 99.5 / 255).float()),
    "another library's": (OtherArray(), ONE),
    "lists": (LEVELS.tolist(), ONE),
    "a list of tensors": (list(ONE[0]), ONE),
    "tensor HWC uint8": (torch.from_numpy(LEVELS), ONE),
    "tensor HWC float": (torch.from_numpy(LEVELS) / 255, ONE),
    "tensor NHWC float": (torch.from_numpy(LEVELS)[None] / 255, ONE),
    "tensor NCHW uint8": ((ONE * 255).round().to(torch.uint8), ONE),
    "tensor NCHW 0..255": (ONE * 255, ONE),
    "tensor NCHW -1..1": (ONE * 2 - 1, ONE),
    "tensor NCHW a little off": (ONE * 1.02 - 0.01, (ONE * 1.02 - 0.01).clamp(0, 1)),
    "PIL RGB": (Image.fromarray(LEVELS), ONE),
    "PIL L": (Image.fromarray(LEVELS[:, :, 0]), GREY),
    "PIL P": (Image.fromarray(LEVELS[:, :, 0]).convert("P"), GREY.expand(-1, 3, -1, -1)),
}


def mended(error, picture):
    line = re.search("; pass (.*)$", str(error))[1]
    names = {"image": picture, "images": picture, "torch": torch, "numpy": numpy, "freemcg": freemcg}
    return eval(line, names)


@pytest.mark.parametrize("name", FORMS)
def test_the_line_of_the_refusal_makes_the_images(name):
    picture, wanted = FORMS[name]
    asked = []
    black_box = BlackBox(lambda images: asked.append(images) or images.flatten(1)[:, :2])
    with pytest.raises((TypeError, ValueError)) as caught:
        black_box(picture)
    assert (black_box.queries, asked) == (0, [])
    images = mended(caught.value, picture)
    check_images(images)
    torch.testing.assert_close(images.float(), wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["numpy HWC uint8", "tensor HWC float", "PIL RGB", "tensor HWC uint8"])
def test_an_explainer_says_the_same(denoiser, name):
    picture, wanted = FORMS[name]
    explainer = make(BlackBox(lambda images: images.flatten(1)[:, :2]), denoiser)
    for call in (explainer.explain, explainer.counterfactual, explainer.attribute):
        with pytest.raises((TypeError, ValueError)) as caught:
            call(picture)
        torch.testing.assert_close(mended(caught.value, picture), wanted)


def test_a_file_is_read_by_the_packages_own_reader(tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(LEVELS).save(path)
    for given in (path, str(path)):
        with pytest.raises(TypeError) as caught:
            BlackBox(lambda images: images)(given)
        torch.testing.assert_close(mended(caught.value, given), ONE)


@pytest.mark.parametrize("picture", [Image.new("RGBA", (5, 6)), Image.new("I;16", (5, 6)), Image.new("F", (5, 6))])
def test_a_picture_that_numbers_alone_do_not_tell_is_read_from_its_file(picture):
    with pytest.raises(
        TypeError, match=r"; pass freemcg.files.images.read_image\(path, channels=3\)\[None\], which reads"
    ):
        check_images(picture)


@pytest.mark.parametrize(
    "images",
    [
        torch.full((1, 3, 4, 4), 1.5),
        torch.linspace(-2.1, 2.6, 48).reshape(1, 3, 4, 4),
        torch.zeros(1, 2, 4, 4),
        torch.zeros(2, 1, 3, 4, 4),
        torch.zeros(1, 3, 4, 4, dtype=torch.complex64),
        np.full((4, 4, 3), np.nan),
        np.full((4, 4, 3), -7),
        [[1, 2], [3]],
        "".join,
    ],
    ids=lambda value: str(type(value)),
)
def test_where_nothing_surely_mends_it_no_line_is_given(images):
    with pytest.raises((TypeError, ValueError)) as caught:
        check_images(images)
    assert "; pass " not in str(caught.value)
