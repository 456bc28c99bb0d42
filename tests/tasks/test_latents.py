"""Explanations with a latent model: what its autoencoder loses, what that costs, and what is decoded."""

from __future__ import annotations

from types import SimpleNamespace

import diffusers
import pytest
import torch
from latents import linear_autoencoder
from torch import nn

from freemcg import BlackBox, Denoiser, FreeMCG, PaperSearch, SharedSearch, load_bundle
from freemcg.diffusion.realism import denoising_error
from freemcg.gradient.objective import log_odds
from freemcg.tasks.paper_search import paper_search
from freemcg.tasks.shared_search import shared_search

SCHEDULER = diffusers.DDPMScheduler()
SIDE = 6
SEARCH = SharedSearch(queries=21, particles=3, steps=8, refresh=4, unpaid=16, strength=0.4, guidance=0.3)
PAPER = PaperSearch(particles=4, steps=5)
CHECKS = torch.tensor([[1.0, -1], [-1, 1]]).repeat(SIDE // 2, SIDE // 2)  # lost by the means of 2x2 pixels


@pytest.fixture
def prior(gaussian_network, rng):
    """The exact network for Gaussian latents of some side, in float32."""

    def make(side=SIDE):
        root = 0.2 * torch.randn(side**2, side**2, generator=rng, dtype=torch.float64) / side
        covariance = root @ root.T + 0.02 * torch.eye(side**2)
        return gaussian_network(torch.zeros(1, side, side, dtype=torch.float64), covariance, SCHEDULER).float()

    return make


@pytest.fixture
def halving(prior):
    """A latent model whose autoencoder keeps only the means of 2x2 pixels."""
    autoencoder = linear_autoencoder("AutoencoderKL", halved=True, scaling_factor=2.0)
    return Denoiser(prior(SIDE // 2), SCHEDULER, autoencoder=autoencoder)


def left_or_right(images):
    """Two classes, by where the light is."""
    light = (images * torch.linspace(-9, 9, SIDE)).sum(dim=(1, 2, 3))
    return torch.stack([light, -light], dim=1)


def checked_or_not(images):
    """Two classes, by a pattern that the autoencoder loses."""
    pattern = (images * CHECKS).sum(dim=(1, 2, 3)) - 0.5
    return torch.stack([pattern, -pattern], dim=1)


@pytest.fixture
def image():
    """Light on the right, and checks of one sixteenth."""
    return (torch.linspace(0.4, 0.6, SIDE // 2).repeat_interleave(2).expand(SIDE, SIDE) + CHECKS / 16)[None]


@pytest.mark.parametrize(("predict", "changes"), [(left_or_right, False), (checked_or_not, True)])
@pytest.mark.parametrize("task", ["explain", "counterfactual"])
def test_the_loss_is_measured_and_named_where_it_changes_the_decision(task, predict, changes, halving, image):
    box = BlackBox(predict)
    result = getattr(FreeMCG(box, halving, queries=17, search=SEARCH), task)(image)
    noted = result.record["autoencoder"]
    assert noted["l1"] == pytest.approx(1 / 16, rel=1e-3)
    assert noted["changes_decision"] is changes
    assert result.queries == box.queries <= {"explain": 17, "counterfactual": SEARCH.queries}[task]


def test_a_tolerance_and_several_maps_count_the_restored_image_too(halving, image):
    box = BlackBox(left_or_right, num_classes=2)
    explainer = FreeMCG(box, halving, queries=40, search=SEARCH)
    maps = list(explainer.stream(image, tolerance=1e-9, queries=40))
    assert [each.queries for each in maps] == [34, 40]
    assert box.queries == 40
    assert all("changes_decision" in each.record["autoencoder"] for each in maps)
    pair = explainer.contrasts(image)[0, 1]
    difference = explainer.difference(lambda images: left_or_right(images) / 2, image)
    for each in (pair, difference):
        assert each.queries == 40
        assert each.record["autoencoder"]["l1"] == pytest.approx(1 / 16, rel=1e-3)
    several = explainer.counterfactuals(image, n=2)
    assert all(each.queries <= SEARCH.queries + 4 for each in several)


@pytest.mark.parametrize(
    ("predict", "settings", "budget", "queries"),
    [
        (left_or_right, {}, 1, 1),
        (lambda images: images.mean(dim=(1, 2, 3)), {"scores": "value"}, None, 17),
    ],
)
def test_the_restored_image_is_not_queried_if_nothing_is_left_or_decided(
    predict, settings, budget, queries, halving, image
):
    box = BlackBox(predict, **settings, budget=budget)
    result = FreeMCG(box, halving, queries=17).explain(image)
    assert result.record["autoencoder"] == {"l1": pytest.approx(1 / 16, rel=1e-3)}
    assert result.queries == box.queries == queries


def test_the_papers_search_has_no_query_to_spare(halving, image):
    box = BlackBox(left_or_right)
    result = FreeMCG(box, halving, search=PAPER).counterfactual(image)
    assert result.record["autoencoder"].keys() == {"l1"}
    assert result.queries == box.queries == PAPER.queries


def test_a_model_on_pixels_records_nothing_and_asks_nothing_more(denoiser, classifier):
    result = FreeMCG(BlackBox(classifier), denoiser, queries=17).explain(torch.full((1, 4, 4), 0.5))
    assert "autoencoder" not in result.record
    assert result.queries == 17


@pytest.mark.parametrize("kind", ["shared", "paper"])
def test_latents_that_are_the_pixels_give_the_search_of_the_pixels(kind, prior, rng):
    """With the scale `1 / gain`, latents are images in [-1, 1]."""
    network, image = prior(), 0.5 + 0.03 * torch.randn(1, SIDE, SIDE, generator=rng)
    autoencoder = linear_autoencoder("AutoencoderKL", gain=0.5, scaling_factor=2.0).double()
    gentle = SEARCH.model_copy(update={"guidance": 0.1, "spread": 1.2})
    run, search = {"shared": (shared_search, gentle), "paper": (paper_search, PAPER)}[kind]
    weights = torch.randn(SIDE**2, 3, generator=rng)
    found = [
        run(
            BlackBox(lambda images: (images - 0.5).flatten(1) @ weights),
            Denoiser(network, SCHEDULER, autoencoder=each),
            image,
            0,
            log_odds,
            search,
            seed=0,
        )
        for each in (None, autoencoder)
    ]
    pixels, latents = found
    moved = (pixels.images - image).norm()
    assert all(((points > 0) & (points < 1)).all() for points in pixels.paths)  # nothing was clipped
    assert (pixels.images - latents.images).norm() < 0.01 * moved
    assert (pixels.path(0) - latents.path(0)).norm() < 0.01 * moved
    assert (pixels.likely is None) == (latents.likely is None)


def test_a_counterfactual_decodes_its_queries_its_candidates_and_its_path(halving, image):
    halving.check_size(image[None])
    rows: list[int] = []
    halving.space.autoencoder.decoder.register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
    box = BlackBox(left_or_right)
    result = FreeMCG(box, halving, search=SEARCH).counterfactual(image)
    asked = SEARCH.without(1)
    restored, candidates = 1, asked.particles + 1
    assert sum(rows) == restored + asked.gradients * asked.queries_per_gradient + candidates + asked.steps
    assert result.path.shape == (SEARCH.steps, *image.shape)
    assert torch.equal((result.path[-1] * 255).round() / 255, result.image)


def test_the_denoising_error_is_that_of_the_latents(halving, rng):
    """Images with the same means of 2x2 pixels are as realistic."""
    images = torch.full((1, 1, SIDE, SIDE), 0.5) + torch.tensor([0.0, 0.1]).reshape(2, 1, 1, 1) * CHECKS
    first, second = denoising_error(halving, images)
    assert first == pytest.approx(second.item(), rel=1e-3)
    latents = Denoiser(halving.unet, SCHEDULER)
    alone = denoising_error(latents, torch.full((1, 1, SIDE // 2, SIDE // 2), 0.5))
    assert first == pytest.approx(alone.item(), rel=1e-3)


class OfDigits(nn.Module):
    """The bundled VAE of digits, with the interface of an autoencoder of diffusers."""

    def __init__(self, vae) -> None:
        super().__init__()
        self.vae = vae
        self.config = {"in_channels": 1, "out_channels": 1, "latent_channels": 16, "block_out_channels": (1,) * 6}
        self.eval()

    def encode(self, x):
        return SimpleNamespace(latents=self.vae.encode(x / 2 + 0.5)[:, :, None, None])

    def decode(self, z):
        return SimpleNamespace(sample=2 * self.vae.decode(z[:, :, 0, 0]) - 1)


def test_digits_are_changed_in_the_latents_of_a_trained_autoencoder(gaussian_network):
    """A VAE's own prior is `N(0, I)`, whose denoiser is known. The settings are the defaults."""
    prior = gaussian_network(torch.zeros(16, 1, 1).double(), torch.eye(16).double(), SCHEDULER).float()
    digits = load_bundle("digits")
    denoiser = Denoiser(prior, SCHEDULER, autoencoder=OfDigits(digits.vae))
    explainer = FreeMCG(BlackBox(digits.classifier), denoiser)
    results = [explainer.counterfactual(image) for image in digits.images[:20:5]]
    assert sum(each.flipped for each in results) >= 3
    for each in results:
        assert each.queries <= 50
        assert each.l1 < 0.2
        assert each.record["autoencoder"]["l1"] < 0.05
        assert each.record["autoencoder"]["changes_decision"] is False
