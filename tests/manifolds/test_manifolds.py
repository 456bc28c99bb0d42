from __future__ import annotations

import math

import pytest
import torch

from freemcg.models.architectures import ConvVAE
from manifolds import TangentSpace, decoder_jacobian, decoder_tangent_space, random_alignment, tangent_space_of


@pytest.fixture
def space(rng) -> TangentSpace:
    return tangent_space_of(torch.randn(5, 60, generator=rng, dtype=torch.double))


def test_projection_is_a_projection(space):
    matrix = space.project(torch.eye(60, dtype=torch.double))
    torch.testing.assert_close(matrix, matrix.T)
    torch.testing.assert_close(matrix @ matrix, matrix)
    assert matrix.trace().item() == pytest.approx(5)


def test_alignment_is_a_ratio_of_norms(space, rng):
    vectors = torch.randn(7, 3, 5, 4, generator=rng, dtype=torch.double)
    aligned, rest = space.alignment(vectors), space.alignment(vectors - space.project(vectors))
    slow = [space.project(v).norm() / v.norm() for v in vectors]  # a second route
    torch.testing.assert_close(aligned, torch.stack(slow))
    assert rest.max() < 1e-12
    off = (vectors - space.project(vectors)).flatten(1).norm(dim=1) / vectors.flatten(1).norm(dim=1)
    torch.testing.assert_close(aligned**2 + off**2, torch.ones(7, dtype=torch.double))
    torch.testing.assert_close(space.alignment(-3 * vectors), aligned)
    assert space.alignment(torch.zeros(1, 60)).isnan().all()


def test_a_random_direction_is_aligned_as_the_closed_form_says(rng):
    assert random_alignment(10, 1024) == pytest.approx(0.09641, abs=5e-6)
    assert random_alignment(10, 1024) == pytest.approx(math.sqrt(10 / 1024), rel=0.03)
    space = TangentSpace(torch.eye(30, dtype=torch.double)[:4])
    vectors = torch.randn(20000, 30, generator=rng)
    assert space.alignment(vectors).mean().item() == pytest.approx(random_alignment(4, 30), rel=0.01)


def test_rank_is_that_of_the_span_even_when_it_is_ill_conditioned(rng):
    directions = torch.linalg.qr(torch.randn(50, 4, generator=rng, dtype=torch.double))[0].T
    scaled = torch.tensor([1.0, 1e-2, 1e-4, 1e-8])[:, None] * directions
    assert tangent_space_of(scaled, tolerance=1e-6).rank == 3
    with pytest.raises(ValueError, match="all spanning vectors are zero"):
        tangent_space_of(torch.zeros(3, 5))


def test_linear_decoder_has_the_span_of_its_columns_and_any_reparametrisation_the_same(rng):
    matrix = torch.randn(12, 3, generator=rng, dtype=torch.double)
    mixing = torch.randn(3, 3, generator=rng, dtype=torch.double)
    decode = lambda z: (z @ matrix.T).reshape(-1, 1, 3, 4)  # noqa: E731
    wanted = matrix @ torch.linalg.pinv(matrix)
    for each in (
        decoder_tangent_space(decode, torch.zeros(2, 3, dtype=torch.double))[1],
        decoder_tangent_space(lambda z: decode(z @ mixing), torch.ones(1, 3, dtype=torch.double))[0],
    ):
        torch.testing.assert_close(each.project(torch.eye(12, dtype=torch.double)), wanted)


def test_forward_mode_jacobian_of_a_vae_equals_finite_differences(rng):
    torch.manual_seed(0)
    vae = ConvVAE(channels=1, image_size=8, latent=3, width=4).double().eval()
    latents = torch.randn(2, 3, generator=rng, dtype=torch.double)
    for latent, space in zip(latents, decoder_tangent_space(vae.decode, latents), strict=True):
        step = 1e-5 * torch.eye(3, dtype=torch.double)
        differences = (vae.decode(latent + step) - vae.decode(latent - step)) / 2e-5
        assert space.rank == 3
        assert (space.alignment(differences) > 1 - 1e-8).all()


def test_unit_sphere(rng):
    """A tangent field has alignment 1, the radial field has 0, and w has |w - (w.x) x| / |w|."""

    def decode(angles):
        a, b = angles[:, 0], angles[:, 1]
        return torch.stack([a.cos() * b.cos(), a.sin() * b.cos(), b.sin()], dim=1).reshape(-1, 1, 1, 3)

    angles = torch.tensor([[0.3, 0.4]], dtype=torch.double)
    space, x = decoder_tangent_space(decode, angles)[0], decode(angles).flatten()
    w = torch.tensor([0.2, -1.0, 0.5], dtype=torch.double)
    found = space.alignment(torch.stack([x, torch.linalg.cross(x, w), w]))
    wanted = torch.stack([w.new_tensor(0), w.new_tensor(1), (w - (w @ x) * x).norm() / w.norm()])
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


def test_jacobian_of_a_vae_is_that_of_one_backward_pass_per_pixel_whatever_the_batch_size(rng):
    torch.manual_seed(0)
    vae = ConvVAE(channels=3, image_size=8, latent=3, width=4).double().eval()
    latents = torch.randn(5, 3, generator=rng, dtype=torch.double)
    leaf = latents.clone().requires_grad_(True)
    slow = torch.stack(
        [torch.autograd.grad(pixel.sum(), leaf, retain_graph=True)[0] for pixel in vae.decode(leaf).flatten(1).T], dim=1
    )
    for batch_size in (1, 2, 7, 512):
        found = decoder_jacobian(vae.decode, latents, batch_size=batch_size)
        assert not found.requires_grad
        torch.testing.assert_close(found.flatten(1, -2), slow)
        spaces = decoder_tangent_space(vae.decode, latents, batch_size=batch_size)
        assert [space.rank for space in spaces] == [3] * 5
    for space, jacobian in zip(spaces, slow, strict=True):
        weights = torch.randn(4, 3, generator=rng, dtype=torch.double)
        torch.testing.assert_close(space.alignment(weights @ jacobian.T), torch.ones(4, dtype=torch.double))
    assert all(parameter.grad is None and parameter.requires_grad for parameter in vae.parameters())


@pytest.mark.parametrize("shape", [(3,), (0, 3), (2, 1, 3)])
def test_latents_are_a_batch_of_vectors(shape):
    with pytest.raises(ValueError) as caught:
        decoder_jacobian(lambda z: z[:, :, None, None], torch.zeros(shape))
    assert str(caught.value) == f"latents must be (N, k) with N >= 1, got {shape}"
