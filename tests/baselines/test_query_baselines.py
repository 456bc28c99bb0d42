"""The attribution methods that only query: closed forms, costs, and laws that hold for all of them."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from torch import Tensor, nn

from baselines.antithetic import antithetic_gradient
from baselines.geex import GEEX
from baselines.hsic import HSIC
from baselines.kernel_shap import KernelSHAP
from baselines.leverage_shap import LeverageSHAP
from baselines.lime import LIME
from baselines.occlusion import Occlusion
from baselines.patch_method import patch_mask
from baselines.rise import RISE
from baselines.sobol import Sobol
from baselines.zeroth_order import DIRECTIONS, ZerothOrder
from freemcg import BlackBox, QueryBudgetExceeded
from freemcg.diffusion.noise import generator_for

SHAPE = (3, 6, 4)
SIZE = math.prod(SHAPE)
BY_CAPTUM = (Occlusion, KernelSHAP, LIME)
METHODS = {
    "zeroth_order": (ZerothOrder, {"queries": 42, "smoothing": 0.05}, 40),
    "zeroth_order_orthonormal": (ZerothOrder, {"queries": 33, "directions": "orthonormal"}, 32),
    "zeroth_order_coordinates": (ZerothOrder, {"queries": 2 * SIZE + 9, "directions": "coordinates"}, 2 * SIZE),
    "geex": (GEEX, {"queries": 40}, 38),
    "rise": (RISE, {"queries": 40, "cells": 3}, 39),
    "sobol": (Sobol, {"queries": 40}, 3 * (3**2 + 2)),  # 3 cells a side, 3 pairs
    "hsic": (HSIC, {"queries": 40, "cells": 3}, 39),
    "occlusion": (Occlusion, {"queries": 40}, 1 + 5 * 3),  # stride 1: windows of 2 at 5 x 3 places
    "kernel_shap": (KernelSHAP, {"queries": 40, "patch": 2}, 39),
    "leverage_shap": (LeverageSHAP, {"queries": 40, "patch": 2}, 2 + 2 * 18),
    "lime": (LIME, {"queries": 40, "patch": 2}, 39),
}


class Linear(nn.Module):
    """A model whose log-odds of class 1 are linear in the pixels. It remembers the number of images in each call."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.randn(SIZE, generator=torch.Generator().manual_seed(5)) / 4)
        self.asked: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.asked.append(len(images))
        score = images.flatten(1) @ self.slope
        return torch.stack([torch.zeros_like(score), score], dim=1)

    @property
    def weights(self) -> Tensor:
        return self.slope.detach().reshape(SHAPE)


@pytest.fixture
def model() -> Linear:
    return Linear().eval()


@pytest.fixture
def mild(images) -> Tensor:
    """Images far from black and white."""
    return 0.3 + 0.4 * images


def make(name, black_box, **settings):
    method, defaults, _ = METHODS[name]
    if method in BY_CAPTUM:
        pytest.importorskip("captum")
    return method(black_box, **{**defaults, **settings})


@pytest.mark.parametrize("name", METHODS)
class TestLaws:
    def test_costs_what_it_says_and_one_more_for_the_decision(self, name, model, images):
        method = make(name, model)
        price = METHODS[name][2]
        method.attribute(images[:1], 1)
        assert sum(model.asked) == method.black_box.queries == price < method.queries
        method.attribute(images, None)
        assert sum(model.asked) == method.black_box.queries == price + 5 * (price + 1)

    def test_a_budget_too_small_for_all_images_is_refused_before_the_first(self, name, model, images):
        price = METHODS[name][2]
        for target, wanted in ((1, 5 * price), (None, 5 * price + 5)):
            make(name, BlackBox(model, budget=wanted)).attribute(images, target)
            asked = sum(model.asked)
            with pytest.raises(QueryBudgetExceeded) as caught:
                make(name, BlackBox(model, budget=wanted - 1)).attribute(images, target)
            assert str(caught.value) == (
                f"{wanted} more queries would pass the budget of {wanted - 1}; {wanted - 1} are left"
            )
            assert sum(model.asked) == asked

    def test_batch_equals_singles_with_a_target_an_image_whatever_the_batch_size(self, name, model, images):
        targets = [1, 0, 0, 1, 1]
        together = make(name, BlackBox(model, batch_size=7)).attribute(images, targets)
        assert max(model.asked) <= 7
        for image, target, values in zip(images, targets, together, strict=True):
            single = make(name, model).attribute(image[None], target)[0]
            torch.testing.assert_close(single, values, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(
            make(name, model).attribute(images, torch.tensor(targets)), together, rtol=1e-4, atol=1e-4
        )

    def test_none_explains_the_decision(self, name, model, images):
        decided = model(images).argmax(dim=1)
        torch.testing.assert_close(
            make(name, model).attribute(images), make(name, model).attribute(images, decided), rtol=0, atol=0
        )

    def test_constant_model_gives_zero(self, name, model, images):
        nn.init.zeros_(model.slope)
        assert make(name, model).attribute(images[:2], 1).abs().max() < 1e-6

    def test_seed_decides_and_global_random_state_is_left_alone(self, name, model, images):
        state = torch.get_rng_state()
        first = make(name, model, seed=3).attribute(images[:1], 1)
        torch.rand(5)
        again = make(name, model, seed=3).attribute(images[:1], 1)
        other = make(name, model, seed=4).attribute(images[:1], 1)
        torch.set_rng_state(state)
        make(name, model).attribute(images[:1], 1)
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.equal(first, again)
        assert torch.equal(first, other) == (name in ("occlusion", "zeroth_order_coordinates"))

    def test_shape_and_dtype_are_those_of_the_images(self, name, model, images):
        found = make(name, model).attribute(images.double(), 1)
        assert (found.shape, found.dtype) == (images.shape, torch.double)
        torch.testing.assert_close(found.float(), make(name, model).attribute(images, 1), rtol=1e-5, atol=1e-6)

    def test_bad_input_costs_nothing(self, name, model, images):
        method = make(name, BlackBox(model, class_names=["a", "b"]))
        for wrong, target, message in (
            (images, "c", "there is no class 'c'; classes are a, b"),
            (images, 2, "there is no class 2; classes are 0..1"),
            (images, [0, 1], "there are 5 images but 2 targets"),
            (images * 3, 0, None),
            (
                images[0],
                0,
                f"images must be (N, C, H, W) with C = 1 or 3, got a tensor of float32 and shape {SHAPE}, which looks "
                "like CHW; pass image[None]",
            ),
        ):
            with pytest.raises(ValueError) as caught:
                method.attribute(wrong, target)
            assert message is None or str(caught.value) == message
        assert not model.asked


BAD = [
    ("zeroth_order", {"queries": 2}, "queries must be >= 3, got 2"),
    ("zeroth_order", {"smoothing": 0}, "smoothing must be > 0, got 0"),
    (
        "zeroth_order",
        {"directions": "up"},
        "directions must be one of gaussian, rademacher, orthonormal, coordinates, got 'up'",
    ),
    (
        "zeroth_order",
        {"objective": "loss"},
        "objective must be one of log_odds, log_probability, logit, margin, probability or a callable, got 'loss'",
    ),
    ("geex", {"base": 2}, "base must be in [0, 1], got 2"),
    ("geex", {"smoothing": -1}, "smoothing must be > 0, got -1"),
    ("rise", {"cells": 0}, "cells must be >= 1, got 0"),
    ("rise", {"keep": 1.0}, "keep must be in (0, 1), got 1.0"),
    ("occlusion", {"window": 3}, "give both window and stride, or neither"),
    ("occlusion", {"window": 2, "stride": 3}, "stride must be in 1..window, got stride 3 and window 2"),
    ("occlusion", {"base": -1}, "base must be in [0, 1], got -1"),
    ("kernel_shap", {"patch": 0}, "patch must be >= 1, got 0"),
    ("kernel_shap", {"base": 1.5}, "base must be in [0, 1], got 1.5"),
    ("lime", {"kernel_width": 0}, "kernel_width must be > 0, got 0"),
    ("lime", {"shrinkage": -0.1}, "shrinkage must be >= 0, got -0.1"),
]


@pytest.mark.parametrize(("name", "settings", "message"), BAD, ids=[f"{each[0]}-{next(iter(each[1]))}" for each in BAD])
def test_bad_settings_are_refused_in_one_sentence(name, settings, message, model):
    with pytest.raises(ValueError) as caught:
        make(name, model, **settings)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        (
            "zeroth_order_coordinates",
            {"queries": 2 * SIZE},
            "directions 'coordinates' need 145 queries for an image of 3x6x4, got 144",
        ),
        (
            "occlusion",
            {"queries": 20, "window": 1, "stride": 1},
            "a window of 1 moved by 1 needs 26 queries for an image of 6x4, got 20; widen the stride or raise queries",
        ),
        ("occlusion", {"window": 5, "stride": 1}, "a window of 5 does not fit into an image of 6x4"),
        ("lime", {"patch": 6}, "patch must be smaller than the image, got 6 for an image of 6x4"),
    ],
)
def test_settings_that_do_not_fit_the_image_are_refused_before_a_query(name, settings, message, model, images):
    with pytest.raises(ValueError) as caught:
        make(name, model, **settings).attribute(images)
    assert str(caught.value) == message
    assert not model.asked


# Zeroth-order gradients


@pytest.mark.parametrize("kind", ["gaussian", "rademacher", "orthonormal"])
def test_zeroth_order_on_a_linear_function_is_the_mean_of_its_terms(kind, model, mild):
    """It is `mean_i (w . u_i) u_i`, and `w` itself with one or two full orthonormal frames."""
    for count in (20, SIZE, 2 * SIZE):
        found = ZerothOrder(model, queries=2 * count + 1, directions=kind).attribute(mild[:1], 1)[0]
        flat = torch.stack(list(DIRECTIONS[kind](count, SHAPE, 0))).flatten(1)
        wanted = (flat.T @ (flat @ model.weights.flatten()) / count).reshape(SHAPE)
        torch.testing.assert_close(found, wanted, rtol=1e-2, atol=2e-3)
        if kind == "orthonormal" and count >= SIZE:
            torch.testing.assert_close(found, model.weights, rtol=1e-2, atol=2e-3)


@pytest.mark.parametrize("kind", ["gaussian", "rademacher", "orthonormal"])
def test_directions_have_unit_covariance(kind):
    """This makes the estimate unbiased. It includes the scale of each kind of direction."""
    flat = torch.stack(list(DIRECTIONS[kind](14_400, (1, 3, 4), 0))).flatten(1)
    covariance = flat.T @ flat / len(flat)
    assert (covariance - torch.eye(12)).abs().max() < 5 * math.sqrt(2 / 14_400)
    again = torch.stack(list(DIRECTIONS[kind](36, (1, 3, 4), 0))).flatten(1)
    torch.testing.assert_close(again, flat[:36])


@pytest.mark.parametrize(("kind", "less"), [("gaussian", 1), ("rademacher", -1)])
@pytest.mark.parametrize("curved", [False, True])
def test_zeroth_order_is_unbiased_with_the_known_cosine(kind, less, curved, rng):
    """The cosine is `sqrt(n / (n + d + 1))` with Gaussian directions, `sqrt(n / (n + d - 1))` with Rademacher ones."""
    size, count, runs = 24, 16, 200
    weights = torch.randn(size, generator=rng, dtype=torch.double)
    root = torch.randn(size, size, generator=rng, dtype=torch.double) / 5
    bend = (root + root.T) if curved else torch.zeros(size, size, dtype=torch.double)
    image = torch.full((1, 4, 6), 0.5, dtype=torch.double)

    def quadratic(images: Tensor) -> Tensor:
        flat = images.flatten(1)
        return flat @ weights + ((flat @ bend) * flat).sum(dim=1) / 2

    truth = weights + bend @ image.flatten()
    found = torch.stack(
        [
            antithetic_gradient(
                quadratic,
                ((image, each.double()) for each in DIRECTIONS[kind](count, (1, 4, 6), seed)),
                0.05,
                batch_size=5,
            ).flatten()
            for seed in range(runs)
        ]
    )
    cosine = torch.nn.functional.cosine_similarity(found, truth[None]).mean().item()
    assert cosine == pytest.approx(math.sqrt(count / (count + size + less)), abs=0.025)
    spread = truth.norm() * math.sqrt((size + 1) / count / runs)
    assert (found.mean(dim=0) - truth).norm() < 1.5 * spread


@pytest.mark.parametrize("brightness", ["mild", "binary"])
def test_coordinates_are_exact_on_a_linear_function_also_at_black_and_white(brightness, model, mild, images):
    image = mild[:1] if brightness == "mild" else images[:1].round()
    found = make("zeroth_order_coordinates", model, smoothing=0.1).attribute(image, 1)[0]
    torch.testing.assert_close(found, model.weights, rtol=1e-3, atol=1e-4)


def test_black_and_white_pixels_show_their_whole_slope(model, images):
    """They can move only one way. Without the division by their share they would show half of it."""
    binary = images[0].round()
    directions = torch.stack(list(DIRECTIONS["rademacher"](4000, SHAPE, 0)))
    found = antithetic_gradient(
        lambda x: x.flatten(1) @ model.weights.flatten(), ((binary, each) for each in directions), 0.1, batch_size=500
    )
    error = found - model.weights
    assert error.norm() < 1.3 * model.weights.norm() * math.sqrt(SIZE / 4000)


# GEEX


def test_geex_on_a_linear_function_is_weights_times_distance_from_the_base(model, mild):
    for base in (0.35, 0.0):  # away from black no query is clipped; from black, some are
        found = GEEX(model, queries=6001, base=base, smoothing=0.05).attribute(mild[:1], 1)[0]
        wanted = model.weights * (mild[0] - base)
        assert (found - wanted).norm() < 1.3 * wanted.norm() * math.sqrt(SIZE / 3000) + 0.02
        assert (found * wanted).sum() / wanted.square().sum() == pytest.approx(1, abs=0.15)


def test_geex_on_a_quadratic_function_is_its_integrated_gradient():
    """For `f = (w . x)^2` from `b` to `x` it is `(x - b) w (w . (x + b))`. Smoothing does not change it."""
    weights = torch.tensor([2.0, 1.0, -1.0])
    image = torch.tensor([0.8, 0.4, 0.6]).reshape(1, 1, 3)

    def answer(images: Tensor) -> Tensor:
        score = (images.flatten(1) @ weights).square()
        return torch.stack([torch.zeros_like(score), score], dim=1)

    found = GEEX(answer, queries=10_001, base=0.3, smoothing=0.05).attribute(image[None], 1)[0].flatten()
    flat = image.flatten()
    wanted = (flat - 0.3) * weights * (weights @ (flat + 0.3))
    torch.testing.assert_close(found, wanted, rtol=0, atol=5 * 2.5 * wanted.abs().max().item() / math.sqrt(5_000))


# RISE


def test_rise_of_a_constant_is_as_published_the_mean_mask(model, images):
    nn.init.zeros_(model.slope)
    method = RISE(model, queries=301, cells=3, keep=0.3, centred=False)
    found = method.attribute(images[:1], 1)[0]
    mean = torch.stack([method.mask(index, 6, 4) for index in range(300)]).mean(dim=0)
    torch.testing.assert_close(found, (0.5 * mean / 0.3).expand(SHAPE))  # two equal logits: p = 0.5
    assert abs(mean.mean().item() - 0.3) < 0.05


@pytest.mark.parametrize("centred", [False, True])
def test_rise_with_independent_masks_on_a_linear_function(centred, model, mild):
    """`E S_j = (1 - p) w_j x_j + p f(x)`; `w_j x_j` sums over channels. Only the published form has the second term."""

    class Independent(RISE):
        def mask(self, index: int, height: int, width: int) -> Tensor:
            draw = torch.rand(height, width, generator=torch.Generator().manual_seed(index))
            return (draw < self.keep).float()

    count, keep = 8000, 0.4
    method = Independent(model, queries=count + 1, keep=keep, centred=centred, objective="log_odds")
    found = method.attribute(mild[:1], 1)[0]
    terms = (model.weights * mild[0]).sum(dim=0)
    wanted = (1 - keep) * terms + (0 if centred else keep * terms.sum())
    spread = (terms.sum().abs() * keep + terms.norm()) * math.sqrt((1 - keep) / keep / count)
    assert (found[0] - wanted).abs().max() < 4 * spread
    assert wanted.std() > 8 * spread / math.sqrt(24)
    assert torch.equal(found[0], found[1])


def reflected(grid: list[list[float]], row: float, column: float) -> float:
    """The grid, bilinear between its centres `0 .. cells - 1`. Outside them it is reflected as by `numpy.pad`."""
    last = len(grid) - 1

    def inside(place: int) -> int:
        return 0 if last == 0 else last - abs(last - abs(place))

    top, left = math.floor(row), math.floor(column)
    down, right = row - top, column - left
    return sum(
        (down if below else 1 - down)
        * (right if beside else 1 - right)
        * grid[inside(top + below)][inside(left + beside)]
        for below in (0, 1)
        for beside in (0, 1)
    )


@pytest.mark.parametrize(("cells", "height", "width"), [(4, 32, 32), (3, 7, 11), (8, 6, 4), (2, 9, 5), (1, 5, 6)])
def test_rise_masks_are_those_of_the_definition(cells, height, width, model):
    """A second route makes the grid of `(cells + 1) ceil(side / cells)` pixels a side, pixel by pixel, and crops it."""
    method = RISE(model, cells=cells, seed=5)
    tall, wide = math.ceil(height / cells), math.ceil(width / cells)
    for index in range(4):
        generator = generator_for(5, "rise", index)
        grid = (torch.rand(cells, cells, generator=generator) < 0.5).float().tolist()
        top, left = (int(torch.randint(side, (), generator=generator)) for side in (tall, wide))
        wanted = torch.tensor(
            [
                [
                    reflected(
                        grid,
                        (top + row + 0.5) * cells / ((cells + 1) * tall) - 0.5,
                        (left + column + 0.5) * cells / ((cells + 1) * wide) - 0.5,
                    )
                    for column in range(width)
                ]
                for row in range(height)
            ]
        )
        torch.testing.assert_close(method.mask(index, height, width), wanted, rtol=0, atol=1e-5)


def test_rise_masks_are_those_of_scipy(model):
    """The authors call `skimage.transform.resize(grid, size, order=1, mode="reflect")`, which is this zoom."""
    ndimage = pytest.importorskip("scipy.ndimage")
    method = RISE(model, cells=4)
    for index in range(8):
        generator = generator_for(0, "rise", index)
        grid = (torch.rand(4, 4, generator=generator) < 0.5).float()
        top, left = (int(torch.randint(8, (), generator=generator)) for _ in range(2))
        enlarged = ndimage.zoom(grid.numpy(), 10, order=1, mode="mirror", grid_mode=True)
        wanted = torch.from_numpy(enlarged)[top : top + 32, left : left + 32]
        torch.testing.assert_close(method.mask(index, 32, 32), wanted, rtol=0, atol=1e-5)


def test_rise_as_published_is_the_centred_map_and_the_mean_mask(model, mild):
    """`sum_i (f_i - c) M_i = sum_i f_i M_i - c sum_i M_i`, with `c` the mean answer."""
    published, centred = (RISE(model, queries=201, cells=3, centred=each) for each in (False, True))
    masks = torch.stack([published.mask(index, 6, 4) for index in range(200)])
    answers = torch.tensor([float(published._ask((mild[0] * mask)[None], 1)) for mask in masks])
    wanted = published.attribute(mild[:1], 1) - answers.mean() * masks.mean(dim=0) / 0.5
    torch.testing.assert_close(centred.attribute(mild[:1], 1), wanted, rtol=1e-4, atol=1e-5)


def test_rise_masks_are_smooth_and_kept_with_the_wanted_probability(model):
    method = RISE(model, cells=4, keep=0.25)
    masks = torch.stack([method.mask(index, 32, 32) for index in range(400)])
    assert ((masks >= 0) & (masks <= 1)).all()
    assert masks.mean().item() == pytest.approx(0.25, abs=0.02)
    steps = (masks[:, 1:] - masks[:, :-1]).abs().max().item()
    assert steps <= 4 / 40 * 1.01 + 1e-6  # a cell of the grid is 40 / 4 pixels


# Captum's


def test_occlusion_by_single_pixels_of_a_linear_function(model, images):
    pytest.importorskip("captum")
    method = Occlusion(model, queries=26, window=1, stride=1, base=0.25)
    found = method.attribute(images[:1], 1)[0]
    wanted = (model.weights * (images[0] - 0.25)).sum(dim=0).expand(SHAPE)  # all channels at once
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_occlusion_averages_over_the_windows_that_cover_a_pixel(model, images):
    pytest.importorskip("captum")
    found = Occlusion(model, queries=100, window=2, stride=1).attribute(images[:1], 1)[0]
    effect = (model.weights * images[0]).sum(dim=0)
    total, covered = torch.zeros(2, 6, 4)
    for row in range(5):
        for column in range(3):
            place = (slice(row, row + 2), slice(column, column + 2))
            total[place] += effect[place].sum()
            covered[place] += 1
    torch.testing.assert_close(found, (total / covered).expand(SHAPE), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("queries", "window", "stride"),
    [(17, 2, 1), (16, 4, 2), (4, 4, 2), (3, 4, 3)],  # 1 and 5 x 3 places, 2 x 1, 2 x 1
)
def test_occlusion_takes_the_smallest_stride_that_queries_allow(queries, window, stride, model, images):
    pytest.importorskip("captum")
    if queries == 3:
        with pytest.raises(ValueError, match="a window of 4 moved by 4 needs 4 queries for an image of 6x4, got 3"):
            Occlusion(model, queries=queries).attribute(images[:1])
        return
    assert Occlusion(model, queries=queries)._plan(SHAPE)[:2] == (window, stride)


def test_patches_are_numbered_row_by_row():
    wanted = torch.tensor([[0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1], [2, 2, 2, 3], [2, 2, 2, 3]])
    assert torch.equal(patch_mask((3, 5, 4), 3), wanted.expand(3, 5, 4))


@pytest.mark.parametrize(("method", "settings"), [(KernelSHAP, {}), (LeverageSHAP, {}), (LIME, {"shrinkage": 0.0})])
def test_surrogates_are_exact_on_a_linear_function(method, settings, model, images):
    """A patch has `sum w (x - b)`, shared evenly among its pixels. So the map sums to `f(x) - f(b)`."""
    pytest.importorskip("captum")
    found = method(model, queries=120, patch=2, base=0.25, **settings).attribute(images[:1], 1)[0]
    effect = model.weights * (images[0] - 0.25)
    wanted = torch.nn.functional.avg_pool2d(effect.mean(dim=0)[None], 2).repeat_interleave(2, 1).repeat_interleave(2, 2)
    torch.testing.assert_close(found, wanted.expand(SHAPE), rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(found.sum(), effect.sum(), rtol=1e-3, atol=1e-3)


def test_kernel_shap_sums_to_the_rise_of_any_function(images):
    pytest.importorskip("captum")
    curved = lambda x: torch.stack([x.square().sum(dim=(1, 2, 3)), x.flatten(1).amax(dim=1)], dim=1)  # noqa: E731
    method = KernelSHAP(curved, queries=60, patch=2)
    found = method.attribute(images, 1).sum(dim=(1, 2, 3))
    ends = [method._ask(each, 1) for each in (images, torch.zeros_like(images))]
    torch.testing.assert_close(found, ends[0] - ends[1], rtol=1e-3, atol=1e-3)


def test_lasso_shrinks_and_a_narrow_kernel_changes_the_weights(model, images):
    pytest.importorskip("captum")
    norms = [
        LIME(model, queries=120, patch=2, shrinkage=shrinkage).attribute(images[:1], 1).norm()
        for shrinkage in (0.0, 0.01, 0.1)
    ]
    assert norms[0] > norms[1] > norms[2]
    wide, narrow = (
        LIME(model, queries=120, patch=2, kernel_width=width).attribute(images[:1], 1) for width in (1, 0.1)
    )
    assert (wide - narrow).abs().max() > 1e-3


@pytest.mark.parametrize("missing", ["captum.attr", "sklearn.linear_model"])
@pytest.mark.parametrize("method", BY_CAPTUM)
def test_without_captum_one_sentence_says_what_to_install(method, missing, model, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ModuleNotFoundError) as caught:
        method(model)
    assert str(caught.value) == (
        f"{method.__name__} is captum's and needs captum and scikit-learn: pip install 'freemcg[compare]'"
    )
