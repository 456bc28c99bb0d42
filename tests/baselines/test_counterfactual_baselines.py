"""The counterfactual baselines: closed forms on linear classifiers, costs, budgets, and the bundled digits."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import DDPMScheduler
from latents import linear_autoencoder
from torch import Tensor, nn

from baselines.adversarial import Adversarial
from baselines.counted_gradient import counted_gradient
from baselines.diffusion_guided import DiffusionGuided
from baselines.dvce import DVCE
from baselines.pixel_search import PixelSearch
from freemcg import BlackBox, Denoiser, QueryBudgetExceeded, SharedSearch, load_bundle
from freemcg.evaluation import summarise
from freemcg.gradient.objective import log_odds
from freemcg.tasks.candidates import Candidates
from freemcg.tasks.counterfactual import search_counterfactuals
from freemcg.tasks.rounds import Round

SHAPE = (1, 4, 4)
SEARCH = SharedSearch(particles=3, steps=8, strength=0.4, guidance=0.3, spread=1, proximity=0.0, stop=1e9)


class Linear(nn.Module):
    """Two classes whose log-odds are `slope . (x - 1/2)`. It remembers what it was asked."""

    def __init__(self, scale: float = 4.0) -> None:
        super().__init__()
        self.slope = nn.Parameter(scale * torch.randn(16, generator=torch.Generator().manual_seed(3)))
        self.asked: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.asked.extend(images.detach())
        score = (images - 0.5).flatten(1) @ self.slope
        return torch.stack([torch.zeros_like(score), score], dim=1)


@pytest.fixture
def classifier() -> Linear:
    return Linear().eval()


@pytest.fixture
def variances() -> Tensor:
    """The variances of data in which pixels 0..4 vary and the others hardly do."""
    return torch.cat([torch.full((5,), 0.04), torch.full((11,), 1e-6)]).double()


@pytest.fixture
def denoiser(gaussian_network, variances) -> Denoiser:
    scheduler = DDPMScheduler()
    network = gaussian_network(torch.zeros(SHAPE, dtype=torch.double), torch.diag(variances), scheduler)
    return Denoiser(network.float(), scheduler)


@pytest.fixture
def image(classifier) -> Tensor:
    """An image that is decided as class 0, with log-odds -2 for class 1, and far from black and white."""
    slope = classifier.slope.detach()
    return (0.5 - 2 * slope / slope.square().sum()).reshape(SHAPE)


def methods(classifier, denoiser):
    return [
        DiffusionGuided(classifier, denoiser, search=SEARCH),
        Adversarial(classifier, denoiser),
        PixelSearch(classifier, denoiser),
        DVCE(classifier, denoiser, steps=8, strength=0.4, guidance=0.3, distance=0.1),
    ]


def test_counted_gradient_of_linear_log_odds_is_the_weight_vector(classifier, rng):
    box, images = BlackBox(classifier, batch_size=3), torch.rand(7, *SHAPE, generator=rng)
    answers, values, gradient = counted_gradient(box, log_odds, images, 1)
    assert box.queries == len(classifier.asked) == 7
    torch.testing.assert_close(gradient, classifier.slope.detach().reshape(SHAPE).expand_as(images))
    torch.testing.assert_close(answers, box(images))
    torch.testing.assert_close(values, log_odds(answers, 1))
    assert classifier.slope.grad is None


def test_pull_back_is_the_posterior_covariance(denoiser, variances, rng):
    """For Gaussian data of variance S it is `S (1 - abar) / (abar S + 1 - abar)`, and a quarter of that in [0, 1]."""
    t = denoiser.timestep(0.3)
    abar = denoiser.alphas_cumprod[t].item()
    x_t, slopes = torch.randn(2, 5, *SHAPE, generator=rng)
    denoiser.batch_size = 2
    posterior = variances * (1 - abar) / (abar * variances + 1 - abar) / 4
    wanted = 2 * math.sqrt(abar) / (1 - abar) * posterior.float().reshape(SHAPE) * slopes
    torch.testing.assert_close(denoiser.pull_back(x_t, t, slopes), wanted, rtol=1e-4, atol=1e-6)


def test_adversarial_goes_the_known_distance_along_the_weights(classifier, denoiser, image):
    """Log-odds from -2 to log(0.9 / 0.1) take `(2 + log 9) / |w|`, up to one step and the rounding to 8 bits."""
    result = Adversarial(classifier, denoiser, step=0.01, steps=500, confidence=0.9).counterfactual(image)
    slope = classifier.slope.detach().reshape(SHAPE)
    distance = (2 + math.log(9)) / slope.norm().item()
    rounding = 4 * 0.5 / 255  # the most for 16 pixels, in the L2 norm
    assert distance - rounding < result.l2 < distance + 0.01 + rounding
    change = result.image - image
    assert torch.nn.functional.cosine_similarity(change.flatten(), slope.flatten(), dim=0) > 0.999
    assert result.status == "complete"
    assert result.target == 1
    assert result.target_probability >= 0.9
    assert result.queries == len(classifier.asked) == len(result.path) + 2


def test_adversarial_gives_up_after_its_steps(classifier, denoiser, image):
    result = Adversarial(classifier, denoiser, step=0.01, steps=3).counterfactual(image)
    assert result.queries == len(classifier.asked) == 3 + 3
    assert result.status == "not_flipped"


def test_pixel_search_direction_is_the_weights_seen_through_the_noise(classifier, denoiser, image, rng):
    """For a linear objective the estimate is `mean_i (w . u_i) u_i` for any smoothing. In expectation it is `w`."""
    noise = torch.randn(20_000, *SHAPE, generator=rng)
    method = PixelSearch(BlackBox(classifier, batch_size=40_000), denoiser, smoothing=0.01)
    gradient = method._gradient(image, noise, 1).flatten()
    slope, flat = classifier.slope.detach(), noise.flatten(1)
    torch.testing.assert_close(gradient, flat.T @ (flat @ slope) / len(flat), rtol=1e-3, atol=2e-2)
    assert (gradient - slope).norm() < 4 * slope.norm() * math.sqrt(17 / 20_000)


def test_pixel_search_steps_by_its_length_and_stops_when_it_has_arrived(classifier, denoiser, image):
    result = PixelSearch(classifier, denoiser, queries=2000, directions=50, step=0.05).counterfactual(image)
    moves = (result.path[1:] - result.path[:-1]).flatten(1).norm(dim=1)
    assert ((moves - 0.05).abs() < 4 / 255).all()
    probabilities = BlackBox(classifier)(result.path)[:, 1].exp()
    assert probabilities[-1] >= 0.99 > probabilities[:-1].max()
    assert result.status == "complete"
    assert result.queries == 2 + 101 * (len(result.path) - 1) < 2000


@pytest.mark.parametrize(("queries", "directions"), [(5, 1), (105, 5), (104, 7)])
def test_pixel_search_costs_what_it_says(classifier, denoiser, image, queries, directions):
    method = PixelSearch(classifier, denoiser, queries=queries, directions=directions, step=1e-9)
    result = method.counterfactual(image)
    each = 2 * directions + 1
    assert result.queries == len(classifier.asked) == 2 + each * ((queries - 2) // each) <= queries
    assert result.status == "not_flipped"


@pytest.mark.parametrize("budget", [1, 2, 12, 13, 30, 104])
def test_pixel_search_never_passes_the_budget_of_the_black_box(classifier, denoiser, image, budget):
    method = PixelSearch(BlackBox(classifier, budget=budget), denoiser, directions=5, step=1e-9)
    result = method.counterfactual(image)
    assert result.queries == len(classifier.asked) <= budget
    assert result.queries == (1 if budget == 1 else 2 + 11 * ((budget - 2) // 11))
    assert result.status == ("not_flipped" if budget >= 101 else "budget_exhausted")
    spent = PixelSearch(BlackBox(classifier, budget=0), denoiser)
    with pytest.raises(QueryBudgetExceeded):
        spent.counterfactual(image)


def test_guided_particles_go_up_the_objective_and_stay_on_the_manifold(classifier, denoiser, image, variances):
    gentle = SEARCH.model_copy(update={"guidance": 0.1})  # so that no pixel is clipped
    guided = DiffusionGuided(classifier, denoiser, search=gentle)
    result = guided.counterfactual(image)
    assert result.queries == len(classifier.asked) <= 1 + 3 * 7 + 3
    free = SEARCH.model_copy(update={"guidance": 0.0})
    start = DiffusionGuided(classifier, denoiser, search=free)._search(image, 1).images
    change = guided._search(image, 1).images - start
    slope = (variances.float() > 1e-3) * classifier.slope.detach()
    # every particle moved only along the weights within the manifold, whose five pixels vary equally
    assert (torch.nn.functional.cosine_similarity(change.flatten(1), slope[None]) > 0.999).all()
    assert (change.flatten(1).norm(dim=1) > 0.03).all()


def test_particles_that_are_latents_are_guided_through_the_decoder(classifier, denoiser, image):
    """With the scale `1 / gain`, latents are images in [-1, 1]: everything is as on pixels."""
    gentle = SEARCH.model_copy(update={"guidance": 0.1, "proximity": 0.02})  # so that no pixel is clipped
    autoencoder = linear_autoencoder("AutoencoderKL", gain=0.5, scaling_factor=2.0)
    latent = Denoiser(denoiser.unet, DDPMScheduler(), autoencoder=autoencoder)
    pixels, latents = (
        DiffusionGuided(classifier, each, search=gentle)._search(image, 1) for each in (denoiser, latent)
    )
    assert (pixels.images - latents.images).norm() < 0.01 * (pixels.images - image).norm()
    torch.testing.assert_close(latents.path(0), pixels.path(0), rtol=0, atol=2e-3)
    result = DiffusionGuided(classifier, latent, search=gentle).counterfactual(image)
    assert result.queries <= 1 + 3 * 7 + 3
    assert result.path.shape == (SEARCH.steps, *SHAPE)


def test_a_guided_particle_past_stop_is_let_go(classifier, denoiser, image):
    arrived = SEARCH.model_copy(update={"stop": -1e9})
    free = SEARCH.model_copy(update={"guidance": 0.0})
    found = [DiffusionGuided(classifier, denoiser, search=each)._search(image, 1).images for each in (arrived, free)]
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("index", range(4))
class TestLaws:
    def test_constant_classifier_is_told_apart(self, index, classifier, denoiser, image):
        nn.init.zeros_(classifier.slope)
        result = methods(classifier, denoiser)[index].counterfactual(image)
        assert result.status == "no_signal"
        assert not result.flipped

    def test_already_the_target_costs_one_query(self, index, classifier, denoiser, image):
        result = methods(classifier, denoiser)[index].counterfactual(image, 0)
        assert (result.status, result.queries, len(classifier.asked)) == ("already_target", 1, 1)
        assert torch.equal(result.image, image)

    def test_seed_and_batch_size(self, index, classifier, denoiser, image):
        method = methods(classifier, denoiser)[index]
        first, state = method.counterfactual(image), torch.get_rng_state()
        denoiser.batch_size = method.black_box.batch_size = 2
        again = method.counterfactual(image[None])
        torch.testing.assert_close(again.image, first.image, rtol=0, atol=1.01 / 255)
        assert torch.equal(torch.get_rng_state(), state)
        method.seed = 1
        other = method.counterfactual(image)
        assert torch.equal(other.image, first.image) == (index == 1)

    def test_model_is_left_as_found_and_the_record_names_the_settings(self, index, classifier, denoiser, image):
        method = methods(classifier, denoiser)[index]
        result = method.counterfactual(image)
        assert classifier.slope.grad is None
        assert classifier.slope.requires_grad
        assert not classifier.training
        assert result.record["method"] == type(method).__name__
        assert result.record["reads_weights"] is method.needs_weights
        assert result.record["drawn_by_image_model"] is method.needs_manifold
        assert result.record["settings"].keys() >= {"objective", "confidence", "seed"}
        assert result.record["denoiser"] == "GaussianNetwork"

    def test_bad_input_costs_nothing(self, index, classifier, denoiser, image):
        method = methods(classifier, denoiser)[index]
        for wrong, message in (
            (image[:, :3], "images are 3x4 but the denoiser GaussianNetwork makes 4x4; resize them to 4x4"),
            (image.expand(3, 4, 4), "images have 3 channels but the denoiser GaussianNetwork makes 1"),
            (torch.stack([image, image]), "one image at a time, (C, H, W), got (2, 1, 4, 4)"),
            (image + 1, None),
        ):
            with pytest.raises(ValueError) as caught:
                method.counterfactual(wrong)
            assert message is None or str(caught.value) == message
        classifier.train()
        with pytest.raises(ValueError, match=r"the model is in training mode.*call model\.eval\(\) first"):
            method.counterfactual(image)
        assert not classifier.asked


@pytest.mark.parametrize("method", [DiffusionGuided, DVCE, Adversarial])
def test_a_black_box_cannot_be_differentiated(method, classifier, denoiser):
    with pytest.raises(TypeError) as caught:
        method(BlackBox(classifier), denoiser)
    assert str(caught.value) == (
        f"{method.__name__} differentiates the model and needs a torch.nn.Module, got BlackBox; "
        "a model that can only be queried is explained by freemcg.FreeMCG or PixelSearch"
    )


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        (Adversarial, {"step": 0}, "step must be > 0, got 0"),
        (Adversarial, {"steps": 0}, "steps must be >= 1, got 0"),
        (Adversarial, {"confidence": 1}, "confidence must be in (0, 1), got 1"),
        (PixelSearch, {"queries": 4}, "queries must be >= 5, one iteration at directions=1, got 4"),
        (PixelSearch, {"directions": 0}, "directions must be >= 1, got 0"),
        (PixelSearch, {"smoothing": -1}, "smoothing must be > 0, got -1"),
        (PixelSearch, {"step": 0.0}, "step must be > 0, got 0.0"),
        (
            DiffusionGuided,
            {"objective": "loss"},
            "objective must be one of log_odds, log_probability, logit, margin, probability or a callable, got 'loss'",
        ),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(method, settings, message, classifier, denoiser):
    with pytest.raises(ValueError) as caught:
        method(classifier, denoiser, **settings)
    assert str(caught.value) == message


def test_the_answer_is_the_nearest_sure_candidate_as_an_8_bit_file(classifier, denoiser, image):
    along = classifier.slope.detach().reshape(SHAPE) / classifier.slope.detach().square().sum()
    candidates = image + along * torch.tensor([8.0, 3.0, 6.0]).reshape(-1, 1, 1, 1)  # log-odds 6, 1, 4
    box = BlackBox(classifier)
    rounds = [Round(lambda wanted, trail: Candidates(candidates, candidates[None]), checks=3)]
    for confidence, best, checked in ((0.95, 2, 2), (0.6, 1, 1), (0.9999, 0, 3)):
        (result,) = search_counterfactuals(rounds, box, denoiser, image, 1, confidence=confidence, seed=0)
        torch.testing.assert_close(result.image, (candidates[best] * 255).round() / 255)
        assert result.queries == 1 + checked


@pytest.fixture(scope="module")
def bundle():
    return load_bundle("digits")


@pytest.mark.parametrize("method", [DiffusionGuided, Adversarial, PixelSearch])
def test_held_out_digits_are_decided_as_the_target(method, bundle):
    settings = {
        DiffusionGuided: {"search": SharedSearch(particles=2, steps=12)},
        PixelSearch: {"queries": 1000},
    }.get(method, {})
    results = [method(bundle.classifier, bundle.denoiser, **settings).counterfactual(bundle.images[0])]
    assert all(result.flipped and result.target_probability >= 0.99 for result in results)
    assert summarise(results, bundle.judge).flipped.value == 1
    assert results[0].queries <= {DiffusionGuided: 1 + 2 * 11 + 2, Adversarial: 203, PixelSearch: 1000}[method]
