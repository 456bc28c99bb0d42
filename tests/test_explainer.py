"""The explainer on images whose denoiser is known exactly: both tasks, costs, budgets, laws."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from freemcg import BlackBox, Denoiser, FreeMCG, SharedSearch

SHAPE = (1, 4, 4)
SEARCH = SharedSearch(particles=3, steps=8, refresh=4, queries=4, unpaid=16, strength=0.4, guidance=0.3)
SEARCH_COST = 4 * 2  # ceil((8 - 1) / 4) gradients of 4 queries


class Linear(nn.Module):
    """Three classes, logits linear in the pixels; remembers what it was asked."""

    def __init__(self, scale: float = 6.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.weights = nn.Parameter(scale * torch.randn(16, 3, generator=generator))
        self.asked: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.asked.extend(images)
        return (images - 0.5).flatten(1) @ self.weights


@pytest.fixture
def classifier() -> Linear:
    return Linear().eval()


@pytest.fixture
def denoiser(gaussian_network, rng) -> Denoiser:
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler()
    root = 0.25 * torch.randn(16, 6, generator=rng, dtype=torch.double)  # data near a plane of 6 dimensions
    covariance = root @ root.T + 1e-4 * torch.eye(16, dtype=torch.double)
    network = gaussian_network(torch.zeros(SHAPE, dtype=torch.double), covariance, scheduler)
    return Denoiser(network.float(), scheduler)


@pytest.fixture
def image(rng) -> Tensor:
    return (0.5 + 0.1 * torch.randn(SHAPE, generator=rng)).clamp(0, 1)


def make(classifier, denoiser, budget=None, **settings) -> FreeMCG:
    box = BlackBox(classifier, budget=budget)
    return FreeMCG(box, denoiser, **{"particles": 64, "queries": 16, "search": SEARCH, **settings})


@pytest.mark.parametrize("estimate", ["sigma_points", "cross_covariance", "regression", "per_particle"])
def test_one_class_linear_attribution_points_along_the_weights_within_the_manifold(
    classifier, denoiser, image, estimate
):
    """`margin` of two classes is linear in the pixels, so the answer is known: C a, or a projected on the particles."""
    two = lambda x: classifier(x)[:, :2]  # noqa: E731
    result = make(two, denoiser, estimate=estimate, objective="margin", particles=64, queries=64).explain(image, 0)
    slope = (classifier.weights[:, 0] - classifier.weights[:, 1]).detach()
    from freemcg.ensemble import anomalies
    from freemcg.estimator import draw_particles

    particles = draw_particles(denoiser, image, denoiser.timestep(0.2), 64, seed=0).flatten(1)
    deviations = anomalies(particles)
    if estimate == "regression":
        span = torch.linalg.svd(deviations, full_matrices=False)[2][:6]
        torch.testing.assert_close(span @ result.values.flatten(), span @ slope, rtol=0.02, atol=0.02)
    else:
        wanted = deviations.T @ (deviations @ slope)
        factor = 63 / 64 if estimate == "per_particle" else 1  # a mean over particles, not an unbiased covariance
        torch.testing.assert_close(result.values.flatten(), factor * wanted, rtol=1e-3, atol=2e-5)


def test_attribution_costs_one_query_and_those_of_the_settings(classifier, denoiser, image):
    explainer = make(classifier, denoiser, queries=13, noise=(0.1, 0.2))
    result = explainer.explain(image)
    assert result.queries == explainer.black_box.queries == len(classifier.asked) == 1 + 2 * 6
    assert result.status == "complete"
    assert result.decision == result.target == int(classifier(image[None]).argmax())


def test_several_noise_levels_are_averaged(classifier, denoiser, image):
    both = make(classifier, denoiser, noise=(0.1, 0.3), queries=8, seed=1).explain(image, 1)
    single = make(classifier, denoiser, noise=0.1, queries=4, seed=1).explain(image, 1)
    from freemcg.estimator import manifold_gradient
    from freemcg.objective import log_odds

    second = manifold_gradient(
        BlackBox(classifier), denoiser, image, denoiser.timestep(0.3), 1, log_odds,
        estimate="sigma_points", particles=64, queries=4, seed=1, step=1,
    )  # fmt: skip
    torch.testing.assert_close(both.values, (single.values + second.gradient) / 2)
    wanted = (single.standard_error.square() + second.standard_error.square()).sqrt() / 2
    torch.testing.assert_close(both.standard_error, wanted)


def test_attribute_is_explain_for_each_image_and_target(classifier, denoiser, image):
    explainer = make(classifier, denoiser)
    images = torch.stack([image, 1 - image, image.flip(1)])
    values = explainer.attribute(images, target=[0, 2, 1])
    for index, target in enumerate([0, 2, 1]):
        torch.testing.assert_close(values[index], explainer.explain(images[index], target).values, rtol=0, atol=0)
    torch.testing.assert_close(explainer.attribute(images, torch.tensor([0, 2, 1])), values, rtol=0, atol=0)


def test_constant_black_box_gives_a_zero_map_marked_no_signal(denoiser, image):
    result = make(lambda x: x.new_tensor([0.1, 0.2, 0.3]).expand(len(x), 3), denoiser).explain(image)
    assert result.status == "no_signal"
    assert (result.values == 0).all()


@pytest.mark.parametrize("budget", [1, 2, 3, 6, 16, 17, 40])
def test_attribution_never_passes_the_budget_and_says_when_it_ended(classifier, denoiser, image, budget):
    result = make(classifier, denoiser, budget=budget).explain(image)
    assert result.queries == len(classifier.asked) <= budget
    assert result.status == ("complete" if budget >= 17 else "budget_exhausted")
    if budget < 3:
        assert (result.values == 0).all()
        assert result.standard_error.isinf().all()
    else:
        assert result.values.abs().sum() > 0


def test_two_networks_with_the_same_function_have_the_same_map(classifier, denoiser, image):
    """Implementation invariance (Sundararajan et al. 2017): exact, since only outputs are read."""
    other = lambda x: (2 * (x - 0.5).flatten(1)) @ (classifier.weights / 2)  # noqa: E731
    first = make(classifier, denoiser).explain(image, 0).values
    torch.testing.assert_close(make(other, denoiser).explain(image, 0).values, first, rtol=1e-4, atol=1e-7)


def test_counterfactual_is_decided_as_the_runner_up_and_asked_about_as_an_8_bit_image(classifier, denoiser, image):
    explainer = make(classifier, denoiser)
    order = classifier(image[None])[0].argsort(descending=True)
    classifier.asked.clear()
    result = explainer.counterfactual(image)
    assert (result.original_decision, result.target) == (int(order[0]), int(order[1]))
    assert result.status == "complete"
    assert result.flipped
    assert result.queries == len(classifier.asked) == 1 + SEARCH_COST + 3
    final = torch.stack(classifier.asked[-3:])
    assert any(torch.equal(result.image, each) for each in final)
    torch.testing.assert_close(result.image * 255, (result.image * 255).round(), rtol=0, atol=1e-4)
    torch.testing.assert_close(
        result.log_probabilities, classifier(result.image[None])[0].log_softmax(0).detach(), rtol=1e-5, atol=1e-5
    )
    assert result.l1 == pytest.approx((result.image - image).abs().mean().item())
    assert result.l2 == pytest.approx((result.image - image).square().sum().sqrt().item())
    assert result.path.shape == (8, *SHAPE)
    torch.testing.assert_close((result.path[-1] * 255).round() / 255, result.image)


def test_the_answer_is_the_nearest_candidate_that_is_decided_with_confidence(classifier, denoiser, image):
    result = make(classifier, denoiser).counterfactual(image)
    final = torch.stack(classifier.asked[-3:])
    sure = classifier(final).softmax(1)[:, result.target] >= SEARCH.confidence
    assert sure.any()
    distances = (final - image).abs().flatten(1).mean(dim=1)
    assert result.l1 == pytest.approx(distances[sure].min().item())


def test_a_class_out_of_reach_is_marked_not_flipped_and_the_best_is_returned(denoiser, image):
    unreachable = lambda x: torch.stack([x.new_full((len(x),), 9.0), x.mean(dim=(1, 2, 3))], dim=1)  # noqa: E731
    result = make(unreachable, denoiser).counterfactual(image)
    assert result.status == "not_flipped"
    assert not result.flipped
    assert result.image.isfinite().all()


def test_counterfactual_of_a_constant_black_box_says_no_signal(denoiser, image):
    assert (
        make(lambda x: x.new_tensor([2.0, 1.0]).expand(len(x), 2), denoiser).counterfactual(image).status == "no_signal"
    )


def test_target_that_is_already_decided_costs_one_query(classifier, denoiser, image):
    decision = int(classifier(image[None]).argmax())
    result = make(classifier, denoiser).counterfactual(image, target=decision)
    assert (result.status, result.queries, result.l1) == ("already_target", 1, 0)
    assert torch.equal(result.image, image)


@pytest.mark.parametrize("budget", [1, 2, 4, 5, 8, 11, 12, 30])
def test_counterfactual_keeps_queries_back_for_the_final_check(classifier, denoiser, image, budget):
    result = make(classifier, denoiser, budget=budget).counterfactual(image)
    assert result.queries == len(classifier.asked) <= budget
    full = 1 + SEARCH_COST + 3
    assert result.queries == (full if budget >= full else result.queries)
    if budget >= full:
        assert result.status == "complete"
    else:
        assert result.status in ("complete", "budget_exhausted")
        assert result.flipped == (result.status == "complete")


def test_paper_preset_asks_about_every_particle_but_at_the_last_step(classifier, denoiser, image):
    explainer = FreeMCG.paper(classifier, denoiser)
    small = explainer.settings.search.model_copy(update={"particles": 5, "steps": 7})
    explainer = make(classifier, denoiser, search=small, objective="log_probability")
    result = explainer.counterfactual(image)
    assert result.queries == 1 + 5 * 6 + 1


@pytest.mark.parametrize("batch_size", [1, 7])
def test_results_do_not_depend_on_the_batch_size(classifier, denoiser, image, batch_size):
    reference = make(classifier, denoiser)
    wanted, found = reference.explain(image, 0), reference.counterfactual(image)
    denoiser.batch_size = batch_size
    box = BlackBox(classifier, batch_size=batch_size)
    other = FreeMCG(box, denoiser, particles=64, queries=16, search=SEARCH)
    torch.testing.assert_close(other.explain(image, 0).values, wanted.values, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(other.counterfactual(image).image, found.image, rtol=0, atol=1.01 / 255)


def test_seed_decides_the_result(classifier, denoiser, image):
    first, again, other = (make(classifier, denoiser, seed=seed).counterfactual(image).image for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_global_random_state_is_left_alone(classifier, denoiser, image):
    before = torch.get_rng_state()
    make(classifier, denoiser).counterfactual(image)
    assert torch.equal(torch.get_rng_state(), before)


BAD = [
    ({"particles": 0}, "particles must be >= 2, got 0"),
    ({"queries": 1}, "queries must be >= 2, got 1"),
    ({"noise": 1.5}, "a noise level is a fraction of the schedule in (0, 1], got 1.5"),
    (
        {"estimate": "magic"},
        "estimate must be one of sigma_points, cross_covariance, regression, per_particle, got 'magic'",
    ),
    (
        {"objective": "loss"},
        "objective must be one of log_odds, log_probability, logit, margin or a callable, got 'loss'",
    ),
    ({"search": {"particlse": 3}}, "unknown setting 'search.particlse'; did you mean 'particles'?"),
    (
        {"estimate": "regression", "queries": 65},
        "queries must be <= particles (64) for estimate 'regression', got 65",
    ),
]


@pytest.mark.parametrize(("settings", "message"), BAD, ids=[next(iter(each[0])) for each in BAD])
def test_bad_settings_are_refused_in_one_sentence(classifier, denoiser, settings, message):
    with pytest.raises(ValueError) as caught:
        make(classifier, denoiser, **settings)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:, :3], "images are 3x4 but the denoiser GaussianNetwork makes 4x4; resize them to 4x4"),
        (lambda x: x.expand(3, 4, 4), "images have 3 channels but the denoiser GaussianNetwork makes 1"),
        (lambda x: x * 3, None),
        (lambda x: torch.stack([x, x]), "one image at a time, (C, H, W), got (2, 1, 4, 4); attribute() takes a batch"),
    ],
)
def test_bad_images_cost_nothing(classifier, denoiser, image, change, message):
    for task in (make(classifier, denoiser).explain, make(classifier, denoiser).counterfactual):
        with pytest.raises(ValueError) as caught:
            task(change(image))
        assert message is None or str(caught.value) == message
    assert not classifier.asked


def test_an_unknown_class_costs_nothing(classifier, denoiser, image):
    explainer = FreeMCG(BlackBox(classifier, class_names=["a", "b", "c"]), denoiser)
    for target, message in (
        ("d", "there is no class 'd'; classes are a, b, c"),
        (3, "there is no class 3; classes are 0..2"),
    ):
        with pytest.raises(ValueError) as caught:
            explainer.counterfactual(image, target)
        assert str(caught.value) == message
    with pytest.raises(ValueError, match="there are 1 images but 2 targets"):
        explainer.attribute(image[None], [0, 1])
    assert not classifier.asked
