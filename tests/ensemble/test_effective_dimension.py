"""The effective dimension of ensembles whose covariance is known."""

from __future__ import annotations

import pytest
import torch

from freemcg.ensemble import effective_dimension


def crossed(scales):
    """Pairs of particles along orthogonal axes, with these standard deviations but for one common factor."""
    axes = torch.diag(torch.tensor(scales, dtype=torch.float64))
    return torch.cat([axes, -axes])


@pytest.mark.parametrize("dimension", [1, 2, 7, 30])
def test_equal_axes_are_counted(dimension):
    assert effective_dimension(crossed([0.3] * dimension)) == pytest.approx(dimension, rel=1e-12)


def test_unequal_axes_count_by_their_share_of_the_variance():
    variances = torch.tensor([4.0, 2.0, 1.0, 1.0])
    expected = (variances.sum() ** 2 / variances.square().sum()).item()  # 64 / 22
    assert effective_dimension(crossed(variances.sqrt().tolist())) == pytest.approx(expected, rel=1e-6)


def test_neither_size_nor_place_nor_rotation_counts():
    rows = torch.randn(20, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    turned, _ = torch.linalg.qr(torch.randn(9, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    assert effective_dimension(3 * rows @ turned + 5) == pytest.approx(effective_dimension(rows), rel=1e-9)


def test_few_particles_see_fewer_directions_by_the_law_that_is_stated():
    generator, seen = torch.Generator().manual_seed(0), []
    for _ in range(40):
        seen.append(effective_dimension(torch.randn(64, 40, generator=generator)))
    assert sum(seen) / len(seen) == pytest.approx(1 / (1 / 40 + 1 / 64), rel=0.03)


def test_particles_that_are_all_alike_have_none():
    assert effective_dimension(torch.full((5, 3), 0.7)) == 0.0
    with pytest.raises(ValueError, match="at least 2 particles"):
        effective_dimension(torch.zeros(1, 3))
