from __future__ import annotations

import pytest
import torch

from manifolds import ensemble_tangent_space, random_alignment


@pytest.fixture
def particles(rng):
    """200 particles on a plane of 3 dimensions in 1x6x8 images, with variances about 9 : 4 : 1."""
    plane = torch.linalg.qr(torch.randn(48, 3, generator=rng, dtype=torch.double))[0].T
    weights = torch.randn(200, 3, generator=rng, dtype=torch.double) * torch.tensor([3.0, 2.0, 1.0])
    return (0.5 + weights @ plane).reshape(200, 1, 6, 8), plane


def test_the_plane_of_the_particles_is_found_and_nothing_else(particles, rng):
    drawn, plane = particles
    space = ensemble_tangent_space(drawn, explained=1.0)
    torch.testing.assert_close(space.project(torch.eye(48, dtype=torch.double)), plane.T @ plane)
    noise = torch.randn(4000, 48, generator=rng, dtype=torch.double)
    assert space.alignment(noise).mean().item() == pytest.approx(random_alignment(3, 48), rel=0.02)


def test_directions_are_the_eigenvectors_of_the_sample_covariance(particles):
    drawn, _ = particles
    covariance = torch.cov(drawn.flatten(1).T)
    values, vectors = torch.linalg.eigh(covariance)
    for rank in (1, 2, 3):
        leading = vectors[:, -rank:]
        projection = ensemble_tangent_space(drawn, rank=rank).project(torch.eye(48, dtype=torch.double))
        torch.testing.assert_close(projection, leading @ leading.T)
    share = values.flip(0).cumsum(0) / values.sum()
    for rank in (1, 2, 3):
        held = share[rank - 1].item()
        assert ensemble_tangent_space(drawn, explained=held - 1e-6).rank == rank
        if rank < 3:
            assert ensemble_tangent_space(drawn, explained=held + 1e-6).rank == rank + 1


def test_particles_may_be_moved_scaled_and_shuffled(particles, rng):
    drawn, _ = particles
    other = 7 - 0.01 * drawn[torch.randperm(200, generator=rng)]
    one, two = (ensemble_tangent_space(each, rank=2).project(torch.eye(48).double()) for each in (drawn, other))
    torch.testing.assert_close(one, two)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give one of rank and explained, got rank None and explained None"),
        ({"rank": 1, "explained": 0.5}, "give one of rank and explained, got rank 1 and explained 0.5"),
        ({"explained": 0.0}, "explained must be in (0, 1], got 0.0"),
        ({"explained": 95}, "explained must be in (0, 1], got 95"),
        ({"rank": 0}, "rank must be in 1..3, the directions that the particles span, got 0"),
        ({"rank": 4}, "rank must be in 1..3, the directions that the particles span, got 4"),
    ],
)
def test_refusals(arguments, message, particles):
    with pytest.raises(ValueError) as caught:
        ensemble_tangent_space(particles[0], **arguments)
    assert str(caught.value) == message


def test_particles_that_are_alike_or_alone_are_refused():
    with pytest.raises(ValueError) as caught:
        ensemble_tangent_space(torch.rand(1, 3, 4, 4), rank=1)
    assert str(caught.value) == "a tangent space needs at least 2 particles, got 1"
    with pytest.raises(ValueError) as caught:
        ensemble_tangent_space(torch.full((5, 3, 4, 4), 0.3), rank=1)
    assert str(caught.value) == "all 5 particles are alike and span no direction; give different ones"
