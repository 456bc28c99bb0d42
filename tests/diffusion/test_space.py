"""Images as latents of an autoencoder, and back."""

from __future__ import annotations

import re

import diffusers
import pytest
import torch
from latents import decoded, encoded, linear_autoencoder
from unets import tiny_unet

from freemcg import Denoiser
from freemcg.diffusion.space import Latents
from freemcg.messages.errors import InvalidValue

KINDS = {"AutoencoderKL": 0, "VQModel": 50}


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def pictures(rng):
    return torch.rand(3, 1, 8, 12, generator=rng)


@pytest.mark.parametrize("halved", [False, True])
def test_images_are_encoded_scaled_and_shifted_and_decoded_again(kind, halved, pictures, rng):
    shift = 0.3 if kind == "AutoencoderKL" else 0.0
    config = {"scaling_factor": 1.7, **({"shift_factor": shift} if shift else {})}
    space = Latents(linear_autoencoder(kind, halved=halved, codes=KINDS[kind], **config))
    latents = 1.7 * (encoded(2 * pictures - 1, halved=halved) - shift)
    torch.testing.assert_close(space.encode(pictures, 64), latents, rtol=0, atol=1e-4)
    points = torch.randn(3, 1, 4, 6, generator=rng)
    wanted = (decoded(points / 1.7 + shift, halved=halved, codes=KINDS[kind]) / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(space.decode(points, 64), wanted, rtol=0, atol=1e-4)
    assert space.image_shape((1, 4, 6)) == tuple(wanted.shape[1:])
    assert space.within(100 * points).equal(100 * points)


def test_the_latent_is_the_mean_and_not_a_draw(pictures):
    autoencoder = linear_autoencoder("AutoencoderKL")
    autoencoder.encoder.conv_out.bias[1] = 2.0  # the logarithm of the variance
    space = Latents(autoencoder)
    assert autoencoder.encode(pictures).latent_dist.std.mean() > 2
    assert torch.equal(space.encode(pictures, 64), space.encode(pictures, 64))


def test_a_batch_holds_as_many_pixels_of_images_as_of_latents(kind, pictures):
    autoencoder = linear_autoencoder(kind, halved=True, codes=KINDS[kind])
    batches: list[int] = []
    autoencoder.encoder.register_forward_pre_hook(lambda _, given: batches.append(len(given[0])))
    autoencoder.decoder.register_forward_pre_hook(lambda _, given: batches.append(len(given[0])))
    space = Latents(autoencoder)
    points = space.encode(pictures, 8)
    images = space.decode(points, 8)
    assert batches == [2, 1, 2, 1]
    torch.testing.assert_close(images, space.decode(points, 64))


def test_a_denoiser_of_latents_makes_images_of_the_autoencoders_size_and_channels():
    autoencoder = linear_autoencoder("AutoencoderKL", halved=True)
    denoiser = Denoiser(tiny_unet(), diffusers.DDPMScheduler(), autoencoder=autoencoder)
    assert (denoiser.channels, denoiser.image_size) == (1, (16, 16))
    denoiser.check_size(torch.rand(1, 1, 16, 16))
    with pytest.raises(InvalidValue, match=r"^images are 8x8 but the denoiser UNet2DModel makes 16x16; resize them"):
        denoiser.check_size(torch.rand(1, 1, 8, 8))


def test_a_size_that_the_autoencoder_does_not_halve_is_refused():
    autoencoder = linear_autoencoder("AutoencoderKL", halved=True)
    denoiser = Denoiser(tiny_unet(sample_size=None), diffusers.DDPMScheduler(), autoencoder=autoencoder, name="mine")
    message = (
        "the denoiser mine fails on images of 17x16 (it makes images of 16x16 of them); resize them to a multiple of "
        "4, such as 16x16 or 20x20"
    )
    with pytest.raises(InvalidValue, match=f"^{re.escape(message)}$"):
        denoiser.check_size(torch.rand(1, 1, 17, 16))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"out_channels": 2}, "the autoencoder takes 1 channels and makes 2; they must be the same"),
        ({"scaling_factor": -1.0}, "scaling_factor of the autoencoder must be > 0, got -1"),
    ],
)
def test_an_autoencoder_that_cannot_serve_is_refused(config, message):
    autoencoder = diffusers.AutoencoderKL(
        **{"in_channels": 1, "out_channels": 1, "block_out_channels": (4,), "norm_num_groups": 1, **config}
    )
    with pytest.raises(InvalidValue, match=f"^{re.escape(message)}$"):
        Latents(autoencoder)


def test_a_network_of_other_channels_than_the_latents_is_refused():
    message = (
        "the network takes 9 channels, but latents of the autoencoder have 1; take a diffusion model that needs "
        "nothing beside the latents"
    )
    network = tiny_unet(in_channels=9)
    with pytest.raises(InvalidValue, match=f"^{re.escape(message)}$"):
        Denoiser(network, diffusers.DDPMScheduler(), autoencoder=linear_autoencoder("AutoencoderKL"))


def test_an_autoencoder_in_training_mode_is_refused(kind, pictures):
    space = Latents(linear_autoencoder(kind, codes=KINDS[kind]).train())
    for use in (lambda: space.encode(pictures, 4), lambda: space.decode(pictures, 4)):
        with pytest.raises(InvalidValue, match=r"the autoencoder of the denoiser is in training mode.* call denoiser"):
            use()


def test_an_answer_that_is_no_number_is_refused(kind, pictures):
    autoencoder = linear_autoencoder(kind, codes=KINDS[kind])
    for half in (autoencoder.encoder, autoencoder.decoder):
        half.conv_out.bias.fill_(torch.nan)
    space = Latents(autoencoder)
    for use in (lambda: space.encode(pictures, 4), lambda: space.decode(pictures, 4)):
        with pytest.raises(InvalidValue, match=r"^the autoencoder of the denoiser answered NaN or infinity; try it"):
            use()


def test_the_identity_holds_the_autoencoder_and_its_scale():
    unet, scheduler = tiny_unet(), diffusers.DDPMScheduler()
    autoencoders = [
        None,
        linear_autoencoder("AutoencoderKL"),
        linear_autoencoder("AutoencoderKL", gain=0.6),
        linear_autoencoder("AutoencoderKL", scaling_factor=0.3),
        linear_autoencoder("AutoencoderKL", shift_factor=0.1),
        linear_autoencoder("VQModel", codes=50),
    ]
    found = [Denoiser(unet, scheduler, autoencoder=each).identity for each in autoencoders]
    assert len(set(found)) == len(found)
    assert all(each.startswith(found[0]) for each in found)
    again = Denoiser(unet, scheduler, autoencoder=linear_autoencoder("AutoencoderKL"))
    assert again.identity == found[1]


def test_slopes_are_pulled_back_through_the_decoder(gaussian_network, rng):
    """Latents `z ~ N(m, S)` with `x = z / (s gain)` give `J = G / (2 s gain)` for the images, with `G` of the clean."""
    scheduler = diffusers.DDPMScheduler()
    root = torch.randn(16, 16, generator=rng, dtype=torch.float64) / 8
    covariance = root @ root.T
    network = gaussian_network(torch.zeros(1, 4, 4, dtype=torch.float64), covariance, scheduler)
    autoencoder = linear_autoencoder("AutoencoderKL", scaling_factor=1.6).double()
    denoiser = Denoiser(network, scheduler, autoencoder=autoencoder)
    x_t = 0.2 * torch.randn(2, 1, 4, 4, generator=rng, dtype=torch.float64)
    slopes = torch.randn(2, 1, 4, 4, generator=rng, dtype=torch.float64)
    abar = scheduler.alphas_cumprod[300].double()
    marginal = abar * covariance + (1 - abar) * torch.eye(16)
    jacobian = abar.sqrt() * covariance @ torch.linalg.inv(marginal) / (2 * 1.6 * 0.5)
    found = denoiser.pull_back(x_t, 300, slopes)
    torch.testing.assert_close(found.flatten(1), slopes.flatten(1) @ jacobian, rtol=1e-3, atol=1e-5)
