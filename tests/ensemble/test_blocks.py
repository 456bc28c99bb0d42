"""Estimates do not depend on how many columns are summed up at a time."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch

from freemcg.ensemble import (
    PrincipalAxes,
    Pushforward,
    blocks,
    control_variate,
    effective_dimension,
    linear_model,
    principal_axes,
    sigma_points,
)

COUNT, SIZE = 12, 31


@pytest.fixture
def particles(rng):
    cloud = torch.randn(COUNT, SIZE, generator=rng, dtype=torch.double) * torch.linspace(3, 0.1, SIZE)
    return 1 + cloud


def found(particles, decode):
    axes = principal_axes(particles)
    points = sigma_points(axes, 6)
    model = linear_model(axes, points, points.square().sum(dim=1))
    asked = particles[:5]
    seen = particles
    if decode is not None:
        pushed = Pushforward.through(axes, points, points @ decode)
        seen, model_there = pushed(particles), pushed.carry(model)
        return [*asdict(axes).values(), model(particles), model_there(seen[:]), *varied(seen, model(particles), asked)]
    return [*asdict(axes).values(), model(particles), *varied(seen, model(particles), asked)]


def varied(seen, predicted, asked):
    estimate = control_variate(seen, predicted, asked.square().sum(dim=1))
    return estimate.gradient, estimate.standard_error


@pytest.mark.parametrize("numbers", [1, 4 * COUNT, 7 * COUNT + 5, SIZE * COUNT])
@pytest.mark.parametrize("decoded", [False, True])
def test_any_block_gives_the_same(particles, monkeypatch, rng, numbers, decoded):
    decode = torch.randn(SIZE, 9, generator=rng, dtype=torch.double) if decoded else None
    whole, dimension = found(particles, decode), effective_dimension(particles)
    monkeypatch.setattr(blocks, "NUMBERS", numbers)
    for one, other in zip(whole, found(particles, decode), strict=True):
        torch.testing.assert_close(one, other)
    assert effective_dimension(particles) == pytest.approx(dimension)


def test_a_block_holds_as_many_numbers_as_it_may(particles, monkeypatch):
    monkeypatch.setattr(blocks, "NUMBERS", 4 * COUNT)
    widths = [particles[:, columns].shape[1] for columns in blocks.column_blocks(particles)]
    assert widths == [4] * 7 + [3]
    monkeypatch.setattr(blocks, "NUMBERS", 1)
    assert [len(rows) for rows in blocks.row_blocks(particles)] == [1] * COUNT


def test_identical_particles_have_no_axis_in_any_block(monkeypatch):
    monkeypatch.setattr(blocks, "NUMBERS", 8)
    axes = principal_axes(torch.ones(4, 6))
    assert axes.directions.shape == (0, 6)
    assert isinstance(axes, PrincipalAxes)
