from __future__ import annotations

import pytest
import torch
from scipy.ndimage import gaussian_filter

from freemcg.evaluation import pearson, structural_similarity


@pytest.fixture
def maps(rng):
    return torch.randn(4, 2, 12, 10, generator=rng)


def test_pearson_of_maps_made_to_correlate(maps, rng):
    first = maps.double().flatten(1)
    first = first - first.mean(dim=1, keepdim=True)
    other = torch.randn(first.shape, generator=rng).double()
    other = other - other.mean(dim=1, keepdim=True)
    other = other - first * (first * other).sum(dim=1, keepdim=True) / first.square().sum(dim=1, keepdim=True)
    mixed = 0.6 * first / first.norm(dim=1, keepdim=True) + 0.8 * other / other.norm(dim=1, keepdim=True)
    torch.testing.assert_close(pearson(maps, 5 * mixed.reshape(maps.shape) + 2), torch.full((4,), 0.6).double())
    torch.testing.assert_close(pearson(maps, -3 * maps + 1), torch.full((4,), -1.0).double())
    assert pearson(maps, torch.ones_like(maps)).isnan().all()


def test_structural_similarity_is_that_of_its_definition(maps, rng):
    others = maps + 0.5 * torch.randn(maps.shape, generator=rng)

    def blurred(values):
        return gaussian_filter(values, 1.5, truncate=4.0)

    wanted = []
    for first, second in zip(maps.double().numpy(), others.double().numpy(), strict=True):
        x, y = (abs(each).sum(axis=0) / abs(each).sum(axis=0).max() for each in (first, second))
        mx, my = blurred(x), blurred(y)
        vx, vy, cov = blurred(x * x) - mx**2, blurred(y * y) - my**2, blurred(x * y) - mx * my
        index = (2 * mx * my + 1e-4) * (2 * cov + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
        wanted.append(index.mean())
    torch.testing.assert_close(structural_similarity(maps, others), torch.tensor(wanted, dtype=torch.double))


def test_a_map_is_like_itself_at_any_scale_and_sign(maps):
    ones = torch.ones(4).double()
    torch.testing.assert_close(structural_similarity(maps, -7 * maps), ones, atol=1e-6, rtol=0)
    assert structural_similarity(maps, torch.zeros_like(maps)).abs().max() < 0.1


@pytest.mark.parametrize("measure", [pearson, structural_similarity])
def test_maps_of_other_shapes_are_refused(maps, measure):
    with pytest.raises(ValueError, match=r"maps to compare must have one shape, got \(4, 2, 12, 10\) and \(3, 2"):
        measure(maps, maps[:3])
