"""The explainer on images whose denoiser is known exactly: both tasks, costs, budgets, laws."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from plane import SEARCH, SEARCH_COST, SHAPE, make

from freemcg import BlackBox, FreeMCG
from freemcg.blackbox.preparation import as_file
from freemcg.diffusion.particles import draw_particles
from freemcg.ensemble import anomalies
from freemcg.gradient.estimator import Ensemble
from freemcg.gradient.objective import log_odds
from freemcg.settings import ESTIMATES
from freemcg.tasks.shared_search import shared_search


@pytest.mark.parametrize("estimate", ESTIMATES)
def test_one_class_linear_attribution_points_along_the_weights_within_the_manifold(
    classifier, denoiser, image, estimate
):
    """`margin` of two classes is linear in the pixels, so the map is C a, or a projected onto the particles."""
    two = lambda x: classifier(x)[:, :2]  # noqa: E731
    result = make(two, denoiser, estimate=estimate, objective="margin", particles=64, queries=65).explain(image, 0)
    slope = (classifier.weights[:, 0] - classifier.weights[:, 1]).detach()
    particles = draw_particles(denoiser, image, denoiser.timestep(0.2), 64, seed=0).flatten(1)
    deviations = anomalies(particles)
    if estimate == "regression":
        span = torch.linalg.svd(deviations, full_matrices=False)[2][:6]
        torch.testing.assert_close(span @ result.values.flatten(), span @ slope, rtol=0.02, atol=0.02)
    else:
        wanted = deviations.T @ (deviations @ slope)
        factor = 63 / 64 if estimate == "per_particle" else 1  # a mean over particles, not an unbiased covariance
        torch.testing.assert_close(result.values.flatten(), factor * wanted, rtol=1e-3, atol=2e-5)


def test_attribution_costs_the_queries_of_the_settings(classifier, denoiser, image):
    explainer = make(classifier, denoiser, queries=14, noise=(0.1, 0.2))
    result = explainer.explain(image)
    assert result.queries == explainer.black_box.queries == len(classifier.asked) == 1 + 2 * 6
    assert result.status == "complete"
    assert result.decision == result.target == int(classifier(image[None]).argmax())


@pytest.mark.parametrize("estimate", ["control_variate", "cross_covariance"])
def test_several_noise_levels_are_averaged(classifier, denoiser, image, estimate):
    explainer = make(classifier, denoiser, noise=(0.1, 0.3), queries=31, seed=1, estimate=estimate)
    both = explainer.explain(image, 1)
    single = make(classifier, denoiser, noise=0.1, queries=16, seed=1, estimate=estimate).explain(image, 1)
    ensemble = Ensemble(denoiser, image, denoiser.timestep(0.3), particles=64, seed=1, step=1)
    ensemble.ask(BlackBox(classifier), 15, estimate)
    second = ensemble.gradient(log_odds, 1, estimate)
    torch.testing.assert_close(both.values, (single.values + second.gradient) / 2)
    wanted = (single.standard_error.square() + second.standard_error.square()).sqrt() / 2
    torch.testing.assert_close(both.standard_error, wanted)
    for part in ("sampling", "residual", "misfit"):
        wanted_part = (single.error_parts[part] + getattr(second.parts, part)) / 4
        assert both.error_parts[part] == pytest.approx(wanted_part, rel=1e-5)
    assert both.error_parts["asked"] == single.error_parts["asked"] + second.parts.asked


@pytest.mark.parametrize("estimate", ["cross_covariance", "regression", "per_particle", "control_variate"])
def test_more_particles_are_drawn_where_more_are_asked_about(classifier, denoiser, image, estimate):
    result = make(classifier, denoiser, particles=5, queries=41, estimate=estimate).explain(image)
    assert result.queries == len(classifier.asked) == 41
    assert len({tuple(each.flatten().tolist()) for each in classifier.asked}) == 41


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


@pytest.mark.parametrize("estimate", ESTIMATES)
@pytest.mark.parametrize("budget", [1, 2, 3, 6, 16, 17, 40])
def test_attribution_never_passes_the_budget_and_says_when_it_ended(classifier, denoiser, image, budget, estimate):
    result = make(classifier, denoiser, budget=budget, estimate=estimate).explain(image)
    assert result.queries == len(classifier.asked) == min(budget, 17)
    assert result.status == ("complete" if budget >= 17 else "budget_exhausted")
    if budget < 3:
        assert result.values.abs().max() < 1e-12
        assert result.standard_error.isinf().all()
        assert (result.relative_error, result.reliability) == (float("inf"), 0)
    elif budget > 3:
        assert result.values.abs().sum() > 0


def test_two_networks_with_the_same_function_have_the_same_map(classifier, denoiser, image):
    """Implementation invariance (Sundararajan et al. 2017) holds exactly, since only outputs are read."""
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
    assert result.queries == len(classifier.asked) <= SEARCH.queries == 1 + SEARCH_COST + 3
    assert torch.equal(result.image, classifier.asked[-1])
    torch.testing.assert_close(result.image * 255, (result.image * 255).round(), rtol=0, atol=1e-4)
    torch.testing.assert_close(
        result.log_probabilities, classifier(result.image[None])[0].log_softmax(0).detach(), rtol=1e-5, atol=1e-5
    )
    assert result.l1 == pytest.approx((result.image - image).abs().mean().item())
    assert result.l2 == pytest.approx((result.image - image).square().sum().sqrt().item())
    assert result.path.shape == (8, *SHAPE)
    torch.testing.assert_close((result.path[-1] * 255).round() / 255, result.image)


@pytest.mark.parametrize("seed", range(4))
def test_the_answer_is_the_nearest_candidate_that_is_decided_with_confidence(classifier, denoiser, image, seed):
    """The classifier is not asked about candidates that are farther away."""
    explainer = make(classifier, denoiser, seed=seed)
    result = explainer.counterfactual(image)
    asked = list(classifier.asked)
    found = shared_search(BlackBox(classifier), denoiser, image, result.target, log_odds, SEARCH, seed=seed)
    candidates = as_file(found.images)
    distances = (candidates - image).abs().flatten(1).mean(dim=1) + 2 * ~found.likely
    nearest = candidates[distances.argsort()]
    sure = classifier(nearest).softmax(1)[:, result.target] >= SEARCH.confidence
    assert sure[: SEARCH.checks].any()
    checked = int(sure.int().argmax()) + 1
    assert result.queries == len(asked) == 1 + SEARCH_COST + checked
    torch.testing.assert_close(torch.stack(asked[-checked:]), nearest[:checked], rtol=0, atol=0)
    assert torch.equal(result.image, nearest[checked - 1])


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


def test_an_answer_that_is_the_input_itself_can_be_saved(classifier, denoiser, image, tmp_path):
    """Then the image, the original and the path share their memory."""
    result = make(classifier, denoiser).counterfactual(image, target=int(classifier(image[None]).argmax()))
    loaded = type(result).load(result.save(tmp_path / "same.safetensors"))
    for name in ("image", "original", "path"):
        torch.testing.assert_close(getattr(loaded, name), getattr(result, name), rtol=0, atol=0)


@pytest.mark.parametrize("budget", [1, 2, 4, 5, 8, 11, 12, 30])
def test_counterfactual_keeps_queries_back_for_the_final_check(classifier, denoiser, image, budget):
    unbounded = make(classifier, denoiser).counterfactual(image)
    classifier.asked.clear()
    result = make(classifier, denoiser, budget=budget).counterfactual(image)
    assert result.queries == len(classifier.asked) <= budget
    if budget >= SEARCH.queries:
        assert result.queries == unbounded.queries
        assert torch.equal(result.image, unbounded.image)
        assert result.status == "complete"
    else:
        assert result.status in ("complete", "budget_exhausted")
        assert result.flipped == (result.status == "complete")
    assert any(torch.equal(result.image, each) for each in classifier.asked)


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
    other = FreeMCG(box, denoiser, particles=64, queries=17, search=SEARCH)
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
    ({"queries": 2}, "queries must be >= 3, got 2"),
    ({"noise": 1.5}, "a noise level is a fraction of the schedule in (0, 1], got 1.5"),
    (
        {"estimate": "magic"},
        f"estimate must be one of {', '.join(ESTIMATES)}, got 'magic'",
    ),
    (
        {"objective": "loss"},
        "objective must be one of log_odds, log_probability, logit, margin or a callable, got 'loss'",
    ),
    ({"search": {"particlse": 3}}, "unknown setting 'search.particlse'; did you mean 'particles'?"),
    ({"tolerance": 0}, "tolerance must be > 0, got 0"),
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


def test_the_explainer_is_imported_without_diffusers():
    """It takes seconds to import, and a denoiser of the user's own does not need it."""
    code = "import sys, freemcg.explainer; sys.exit('diffusers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
