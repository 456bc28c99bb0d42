from __future__ import annotations

import diffusers
import pytest
import torch
from torch import nn

from freemcg import Denoiser
from manifolds import denoiser_tangent_space, jacobian_svd, randomised_svd


@pytest.fixture
def spectrum():
    return torch.cat([torch.tensor([0.9, 0.5, 0.3, 0.2]), torch.full((56,), 1e-3)]).double()


@pytest.fixture
def gaussian(gaussian_network, spectrum, rng):
    """A denoiser of Gaussian 3x4x5 images near a plane of four dimensions, and its Jacobian at timestep 300."""

    def make(kind="epsilon"):
        vectors = torch.linalg.qr(torch.randn(60, 60, generator=rng, dtype=torch.double))[0]
        covariance = (vectors * spectrum) @ vectors.T
        scheduler = diffusers.DDPMScheduler(prediction_type=kind)
        denoiser = Denoiser(gaussian_network(torch.zeros(3, 4, 5).double(), covariance, scheduler), scheduler)
        abar = denoiser.alphas_cumprod[300].item()
        gains = 0.5 * abar**0.5 * spectrum / (abar * spectrum + 1 - abar)  # half, for images in [0, 1]
        return denoiser, vectors, gains

    return make


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("batch_size", [5, 64])
def test_singular_values_and_vectors_of_gaussian_data(kind, batch_size, gaussian, rng):
    """The Jacobian is `sqrt(abar) S (abar S + (1 - abar) I)^-1`, in the model's range."""
    denoiser, vectors, gains = gaussian(kind)
    point = torch.randn(3, 4, 5, generator=rng, dtype=torch.double)
    found = jacobian_svd(denoiser.differentiable(300), point, rank=4, batch_size=batch_size, generator=rng)
    torch.testing.assert_close(found.values, gains[:4], rtol=1e-8, atol=0)
    torch.testing.assert_close(found.left, found.right, rtol=0, atol=1e-8)  # a symmetric, positive matrix
    space = denoiser_tangent_space(denoiser.differentiable(300), point, rank=4, generator=rng)
    wanted = vectors[:, :4] @ vectors[:, :4].T
    torch.testing.assert_close(space.project(torch.eye(60).double()), wanted, rtol=0, atol=1e-8)


def test_a_differentiable_denoiser_answers_what_denoise_does_and_keeps_the_gradient(gaussian, rng):
    denoiser, vectors, gains = gaussian()
    denoiser.batch_size = 2
    x_t = 0.1 * torch.randn(3, 3, 4, 5, generator=rng, dtype=torch.double)
    x_t.requires_grad_(True)
    answer = denoiser.differentiable(300)(x_t)
    torch.testing.assert_close(answer.detach(), denoiser.denoise(x_t.detach(), 300))
    (slope,) = torch.autograd.grad(answer[1].flatten() @ vectors[:, 2], x_t)
    torch.testing.assert_close(slope[1].flatten(), gains[2] * vectors[:, 2])
    assert slope[0].abs().max() == 0
    assert (denoiser.differentiable(300)(50 * x_t).abs() > 1).any()  # not clipped


def test_a_network_with_attention_and_normalisation_against_its_whole_jacobian(rng):
    torch.manual_seed(0)
    network = diffusers.UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        attention_head_dim=8,
    ).double()
    denoiser = Denoiser(network.eval().requires_grad_(False), diffusers.DDPMScheduler())
    point = torch.randn(1, 8, 8, generator=rng, dtype=torch.double)
    step = 1e-5 * torch.eye(64, dtype=torch.double).reshape(64, 1, 8, 8)
    whole = (denoiser.differentiable(200)(point + step) - denoiser.differentiable(200)(point - step)).flatten(
        1
    ).T / 2e-5
    left, values, right = torch.linalg.svd(whole)
    found = jacobian_svd(denoiser.differentiable(200), point, rank=3, iterations=30, generator=rng)
    torch.testing.assert_close(found.values, values[:3], rtol=1e-5, atol=0)
    assert ((found.left @ left[:, :3]).diagonal().abs() > 0.999).all()
    assert ((found.right @ right[:3].T).diagonal().abs() > 0.999).all()
    assert (found.left * (found.right @ whole.T)).sum(dim=1).min() > 0  # the pair has one sign
    assert all(parameter.grad is None for parameter in network.parameters())


def test_randomised_svd_of_a_matrix_that_is_neither_square_nor_symmetric(rng):
    u = torch.linalg.qr(torch.randn(30, 12, generator=rng, dtype=torch.double))[0]
    v = torch.linalg.qr(torch.randn(20, 12, generator=rng, dtype=torch.double))[0]
    sizes = 0.5 ** torch.arange(12).double()
    matrix = (u * sizes) @ v.T
    calls = []

    def product(vectors):
        calls.append(len(vectors))
        return vectors @ matrix.T

    found = randomised_svd(product, lambda w: w @ matrix, 20, 5, oversampling=4, iterations=2, generator=rng)
    assert calls == [9, 9, 9]
    torch.testing.assert_close(found.values, sizes[:5], rtol=1e-6, atol=0)
    torch.testing.assert_close((found.left @ u[:, :5]).abs(), torch.eye(5).double(), rtol=0, atol=1e-4)
    torch.testing.assert_close(found.left.T * found.values @ found.right, matrix, rtol=0, atol=2 * sizes[5].item())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rank": 0}, "rank must be in 1..4, got 0"),
        ({"rank": 5}, "rank must be in 1..4, got 5"),
        ({"rank": 2, "iterations": -1}, "oversampling and iterations must be >= 0, got 8 and -1"),
        ({"rank": 2, "batch_size": 0}, "batch_size must be >= 1, got 0"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError) as caught:
        jacobian_svd(lambda x: 2 * x, torch.zeros(1, 2, 2), **arguments)
    assert str(caught.value) == message


def test_what_is_no_single_image_or_has_no_gradient_is_refused():
    with pytest.raises(ValueError) as caught:
        jacobian_svd(lambda x: x, torch.zeros(1, 1, 2, 2), rank=1)
    assert str(caught.value) == "one noisy image at a time, (C, H, W), got (1, 1, 2, 2)"
    network = nn.Module()
    network.forward = lambda x_t, t: 0.1 * x_t
    quiet = Denoiser(network.eval(), diffusers.DDPMScheduler())
    with pytest.raises(ValueError) as caught:
        jacobian_svd(lambda x: quiet.denoise(x, 100), torch.zeros(1, 2, 2), rank=1)
    assert str(caught.value) == (
        "denoise cannot be differentiated; hand over a function that keeps gradients, such as "
        "freemcg's denoiser.differentiable(t)"
    )
