from __future__ import annotations

from itertools import permutations

import pytest
import torch
from torch import nn

from freemcg import BlackBox
from freemcg.evaluation.infill import blurred
from freemcg.evaluation.insertion_deletion import area, insertion_deletion
from freemcg.evaluation.saliency import REDUCTIONS, saliency_ranks

SHAPE = (1, 2, 3)
PIXELS = 6


def answering(share):
    """A black box whose probability of class 0 is `share(images)`, `(N,)`."""

    def predict(images):
        first = share(images.double())
        return torch.stack([first, 1 - first], dim=1)

    return BlackBox(predict, "probabilities")


def linear(pixels, classes, rng):
    network = nn.Sequential(nn.Flatten(), nn.Linear(pixels, classes)).eval()
    nn.init.normal_(network[1].weight, generator=rng)
    return network


def black(image, removed):
    return image * ~removed[:, None]


def measure(black_box, images, attributions, **settings):
    settings = {"fill": black, "start": black, "steps": PIXELS, **settings}
    return insertion_deletion(black_box, images, attributions, torch.zeros(len(images), dtype=torch.long), **settings)


@pytest.fixture
def weights(rng):
    drawn = torch.rand(SHAPE, generator=rng, dtype=torch.double)
    return drawn / drawn.sum()


@pytest.fixture
def picture(rng):
    return torch.rand(1, *SHAPE, generator=rng)


@pytest.mark.parametrize("steps", [1, 4, PIXELS])
def test_a_constant_score_has_its_own_area(rng, picture, steps):
    found = measure(
        answering(lambda images: torch.full((len(images),), 0.3)), picture, torch.randn(1, *SHAPE), steps=steps
    )
    for each in (found.insertion, found.deletion):
        torch.testing.assert_close(each, torch.tensor([0.3], dtype=torch.double), rtol=1e-6, atol=0)
    assert found.insertion_curves.shape == found.deletion_curves.shape == (1, steps + 1)


def test_ranked_by_what_it_adds_an_additive_score_has_the_best_areas_of_all_orders(weights, picture):
    box = answering(lambda images: (images * weights).sum(dim=(1, 2, 3)))
    orders = torch.tensor(list(permutations(range(PIXELS))), dtype=torch.float).reshape(-1, *SHAPE)
    every = measure(box, picture.expand(len(orders), -1, -1, -1), orders)
    ranked = measure(box, picture, (weights * picture).float())
    torch.testing.assert_close(ranked.deletion[0], every.deletion.min())
    torch.testing.assert_close(ranked.insertion[0], every.insertion.max())
    assert every.deletion.min() < 0.8 * every.deletion.max()
    shares = (weights * picture).flatten().double().sort(descending=True).values
    left = torch.cat([shares.sum()[None], shares.sum() - shares.cumsum(0)])
    torch.testing.assert_close(ranked.deletion_curves[0], left, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ranked.insertion_curves[0], shares.sum() - left, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("steps", [2, 3, PIXELS])
def test_one_pixel_that_carries_everything(steps):
    images, attributions = torch.ones(2, 3, 2, 3), torch.zeros(2, 3, 2, 3)
    attributions[:, 1, 1, 2] = 1
    found = measure(answering(lambda images: images[:, 0, 1, 2]), images, attributions, steps=steps)
    torch.testing.assert_close(found.insertion, torch.full((2,), 1 - 1 / (2 * steps)).double(), rtol=1e-6, atol=0)
    torch.testing.assert_close(found.deletion, torch.full((2,), 1 / (2 * steps)).double(), rtol=1e-6, atol=1e-9)


def test_curves_are_those_of_exchanging_pixels_one_after_another(rng):
    """A second, slow route replaces one pixel after another, with all its channels and the default fills."""
    images, attributions = torch.rand(2, 3, 4, 5, generator=rng), torch.randn(2, 3, 4, 5, generator=rng)
    network = linear(60, 3, rng)
    targets = torch.tensor([2, 0])
    found = insertion_deletion(BlackBox(network), images, attributions, targets, steps=7)
    for number, (image, target) in enumerate(zip(images, targets, strict=True)):
        order = sorted(range(20), key=lambda pixel: -attributions[number].sum(dim=0).flatten()[pixel])
        gone, come = image.clone(), blurred(image, torch.ones(1, 4, 5, dtype=torch.bool))[0]
        colour = image.mean(dim=(1, 2))
        curves = {"insertion": [], "deletion": []}
        for step in range(8):
            for pixel in order[round((step - 1) * 20 / 7) if step else 0 : round(step * 20 / 7)]:
                gone[:, pixel // 5, pixel % 5] = colour
                come[:, pixel // 5, pixel % 5] = image[:, pixel // 5, pixel % 5]
            for name, picture in (("insertion", come), ("deletion", gone)):
                curves[name].append(network(picture[None]).softmax(dim=1)[0, target].item())
        for name, curve in curves.items():
            torch.testing.assert_close(
                getattr(found, f"{name}_curves")[number], torch.tensor(curve).double(), rtol=1e-5, atol=1e-6
            )
            area_under = torch.trapezoid(torch.tensor(curve)).item() / 7
            assert getattr(found, name)[number].item() == pytest.approx(area_under, rel=1e-5)


def test_costs_what_it_says_and_no_batch_changes_it(rng):
    images, attributions = torch.rand(3, 1, 4, 4, generator=rng), torch.randn(3, 1, 4, 4, generator=rng)
    network = linear(16, 2, rng)
    targets = torch.tensor([0, 1, 1])
    box = BlackBox(network)
    together = insertion_deletion(box, images, attributions, targets, steps=5)
    assert box.queries == 3 * (2 * 5 + 1)
    small = BlackBox(network, batch_size=3)
    for index in range(3):
        one = slice(index, index + 1)
        single = insertion_deletion(small, images[one], attributions[one], targets[one], steps=5)
        torch.testing.assert_close(single.insertion, together.insertion[one])
        torch.testing.assert_close(single.deletion_curves, together.deletion_curves[one])


def test_equal_pixels_go_in_a_random_order_that_the_seed_names():
    flat = torch.zeros(2, 1, 6, 7)
    first, again, other = (saliency_ranks(flat, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(first[0], first[1])
    assert first[0].flatten().tolist() != list(range(42))
    assert sorted(first[0].flatten().tolist()) == list(range(42))
    tied = torch.tensor([[[[1.0, 3.0, 1.0, 2.0]]]])
    ranks = {tuple(saliency_ranks(tied, seed=seed).flatten().tolist()) for seed in range(20)}
    assert ranks == {(2, 0, 3, 1), (3, 0, 2, 1)}


def test_reductions_of_channels():
    pixel = torch.tensor([1.0, -3.0, 0.5]).reshape(1, 3, 1, 1)
    values = {name: reduce(pixel).item() for name, reduce in REDUCTIONS.items()}
    assert values == {"sum": -1.5, "abs_sum": 1.5, "sum_abs": 4.5, "max_abs": 3.0}


def test_the_reduction_is_the_one_that_is_named():
    images, attributions = torch.ones(1, 1, 1, 2), torch.tensor([1.0, -3.0]).reshape(1, 1, 1, 2)
    box = answering(lambda images: images[:, 0, 0, 0])
    assert measure(box, images, attributions, steps=2).insertion.item() == pytest.approx(0.75)
    assert measure(box, images, attributions, steps=2, reduction="sum_abs").insertion.item() == pytest.approx(0.25)


def test_area_of_a_straight_line_is_its_middle():
    assert area(torch.tensor([[1.0, 0.75, 0.5, 0.25, 0.0], [0.2] * 5])).tolist() == pytest.approx([0.5, 0.2])


REFUSED = {
    "steps must be in 1..6, the pixels of an image, got 7": {"steps": 7},
    "steps must be in 1..6, the pixels of an image, got 0": {"steps": 0},
    "reduction must be one of sum, abs_sum, sum_abs, max_abs, got 'mean'": {"reduction": "mean"},
    "attributions hold NaN or infinity, which have no rank": {"attributions": torch.full((1, *SHAPE), float("nan"))},
    "for images (1, 1, 2, 3) give attributions of the same shape and 1 targets, got (1, 1, 2, 2) and (1,)": {
        "attributions": torch.zeros(1, 1, 2, 2)
    },
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_refusals_are_one_sentence_before_the_first_query(picture, sentence):
    box = answering(lambda images: images[:, 0, 0, 0])
    settings = {"attributions": torch.zeros(1, *SHAPE), **REFUSED[sentence]}
    with pytest.raises(ValueError) as caught:
        measure(box, picture, settings.pop("attributions"), **settings)
    assert str(caught.value) == sentence
    assert box.queries == 0
