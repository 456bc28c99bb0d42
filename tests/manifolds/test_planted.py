from __future__ import annotations

import math

import pytest
import torch

from manifolds.planted import EDGE, FAINTEST, INSIDE, RADIUS, RING, mark, plant

CLASSES = 10


@pytest.fixture
def images():
    return torch.rand(400, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_the_place_is_the_label_or_says_nothing(images):
    labels = torch.arange(400) % CLASSES
    assert torch.equal(plant(images, labels, classes=CLASSES, tells=True).places, labels)
    drawn = plant(images, labels, classes=CLASSES, tells=False).places
    counts = drawn.bincount(minlength=CLASSES)
    assert counts.sum() == 400
    assert ((counts - 40).abs() < 4 * math.sqrt(36)).all()  # binomial: 400 of 1/10
    assert abs((drawn == labels).float().mean() - 0.1) < 4 * math.sqrt(0.09 / 400)


def test_an_image_is_the_same_for_any_number_of_images(images):
    labels = torch.arange(400) % CLASSES
    for tells in (True, False):
        few, many = (plant(images[:n], labels[:n], classes=CLASSES, tells=tells, seed=5) for n in (7, 400))
        assert torch.equal(few.images, many.images[:7])
        assert torch.equal(few.masks, many.masks[:7])


def test_pixels_off_the_mark_stay_and_those_on_it_get_brighter(images):
    planted = plant(images, torch.arange(400) % CLASSES, classes=CLASSES, tells=True)
    added = (planted.images - images) / (1 - images)  # the share of the way to white
    off = added.amax(dim=1).masked_fill(planted.masks, 0)
    assert off.max() < INSIDE + 1e-5
    on = (added.mean(dim=1) * planted.masks).amax(dim=(1, 2))
    assert on.min() > FAINTEST * 0.9
    assert on.max() <= 1
    assert planted.images.min() >= 0
    assert planted.images.max() <= 1
    assert on.std() > 0.1  # the brightness varies


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 48)])
def test_marks_are_discs_on_a_ring_that_do_not_overlap(height, width):
    every = mark(torch.arange(CLASSES), torch.ones(CLASSES).double(), classes=CLASSES, height=height, width=width)
    assert ((every >= INSIDE).sum(dim=0) <= 1).all()
    reach = RADIUS + EDGE * math.log(1 / INSIDE - 1)
    area = math.pi * reach**2 / 4 * height * width
    assert ((every >= INSIDE).sum(dim=(1, 2)) - area).abs().max() < 0.25 * area
    x = (torch.arange(width) + 0.5) * 2 / width - 1
    y = (torch.arange(height) + 0.5) * 2 / height - 1
    for place, disc in enumerate(every):
        centre = torch.stack([(disc * x).sum(), (disc * y[:, None]).sum()]) / disc.sum()
        angle = torch.tensor(2 * math.pi * place / CLASSES)
        wanted = torch.stack([angle.cos(), angle.sin()])
        torch.testing.assert_close(centre, (wanted * RING / wanted.abs().max()).double(), atol=0.02, rtol=0)


def test_a_mark_grows_linearly_with_its_brightness():
    brightness = torch.tensor([0.5], dtype=torch.double, requires_grad=True)
    disc = mark(torch.tensor([3]), brightness, classes=CLASSES, height=16, width=16)
    (slope,) = torch.autograd.grad(disc.sum(), brightness)
    torch.testing.assert_close(slope[0], disc.sum().detach() / 0.5)


@pytest.mark.parametrize("labels", [torch.tensor([0]), torch.tensor([0, 10]), torch.tensor([-1, 0])])
def test_wrong_labels_are_refused(images, labels):
    with pytest.raises(ValueError, match=r"give 2 labels in 0\.\.9, one for each image"):
        plant(images[:2], labels, classes=CLASSES, tells=True)
