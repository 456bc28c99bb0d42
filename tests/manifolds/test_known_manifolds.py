from __future__ import annotations

import pytest
import torch

from manifolds import generated, reconstructed


@pytest.fixture
def matrix(rng):
    return torch.randn(12, 3, generator=rng)


@pytest.fixture
def decode(matrix):
    return lambda z: (z @ matrix.T).reshape(-1, 1, 3, 4)


@pytest.fixture
def labeller(matrix):
    """A labeller that is sure of class 1 if the first latent is positive. If not, it barely decides class 0."""

    def answer(images):
        first = (images.flatten(1) @ torch.linalg.pinv(matrix).T)[:, 0]
        return torch.stack([torch.full_like(first, 1e-3), (first > 0) * 200 - 0.0], dim=1)

    return answer


def test_drawn_images_are_kept_with_the_square_of_the_probability(decode, labeller):
    """Half of the images are sure and all kept. Of the others a quarter is kept, so four fifths are sure."""
    found = generated(decode, labeller, latent=3, count=4000, seed=1)
    sure = found.latents[:, 0] > 0
    assert torch.equal(found.labels, sure.long())
    assert sure.double().mean().item() == pytest.approx(0.8, abs=4 * (0.16 / 4000) ** 0.5)
    assert found.latents[:, 1:].mean().abs() < 4 / 8000**0.5
    assert found.latents[:, 1:].std().item() == pytest.approx(1, abs=0.04)


def test_images_latents_and_tangent_spaces_belong_together(decode, labeller, matrix):
    found = generated(decode, labeller, latent=3, count=9, seed=2)
    assert torch.equal(found.images, decode(found.latents))
    wanted = matrix.double() @ torch.linalg.pinv(matrix.double())
    assert len(found.tangent_spaces) == 9
    for space in found.tangent_spaces:
        torch.testing.assert_close(space.project(torch.eye(12).double()), wanted, rtol=0, atol=1e-6)


def test_the_seed_decides_and_the_count_does_not(decode, labeller):
    few, many = (generated(decode, labeller, latent=3, count=count, seed=7) for count in (5, 200))
    assert torch.equal(few.latents, many.latents[:5])
    assert torch.equal(few.labels, many.labels[:5])
    other = generated(decode, labeller, latent=3, count=5, seed=8)
    assert not torch.equal(other.latents, few.latents)


def test_reconstructions_lie_on_the_manifold_and_keep_their_labels(decode, matrix, rng):
    images, labels = torch.rand(6, 1, 3, 4, generator=rng), torch.tensor([3, 1, 4, 1, 5, 9])
    found = reconstructed(lambda x: x.flatten(1) @ torch.linalg.pinv(matrix).T, decode, images, labels)
    projection = matrix @ torch.linalg.pinv(matrix)
    torch.testing.assert_close(found.images.flatten(1), images.flatten(1) @ projection.T, rtol=0, atol=1e-5)
    assert torch.equal(found.labels, labels)
    for space, image in zip(found.tangent_spaces, found.images, strict=True):
        assert space.alignment(image[None]).item() == pytest.approx(1, abs=1e-6)  # a plane through the origin


def test_refusals(decode, labeller, monkeypatch):
    monkeypatch.setattr("manifolds.known.PATIENCE", 2)
    unsure = lambda images: torch.zeros(len(images), 100_000)  # noqa: E731
    for call, message in (
        (
            lambda: generated(decode, unsure, latent=3, count=1),
            "only 0 of 128 images drawn were accepted; the labeller is too unsure of what is decoded",
        ),
        (
            lambda: generated(decode, labeller, latent=3, count=0),
            "count and latent must be >= 1, got 0 and 3",
        ),
        (
            lambda: reconstructed(labeller, decode, torch.zeros(2, 1, 3, 4), torch.zeros(3)),
            "there are 2 images but 3 labels",
        ),
    ):
        with pytest.raises(ValueError) as caught:
            call()
        assert str(caught.value) == message
