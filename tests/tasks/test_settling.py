"""What the image decides about a search and a map, with Gaussian images that differ in a known number of directions."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler

from baselines import DiffusionGuided
from freemcg import BlackBox, Denoiser, FreeMCG, PaperSearch, SharedSearch
from freemcg.comparison.contestants import make_contestants
from freemcg.comparison.recipe import Entry
from freemcg.gradient.directions import PARTICLES
from freemcg.jobs.replay import differences, replay
from freemcg.settings import NARROW, Settings, make
from freemcg.settings.search import MANY, OPEN
from freemcg.tasks.settling import settled_search

SHAPE = (1, 12, 12)
FEW, LOTS = 6, 140
WITHOUT_NAMES = make(Settings, {}).search


@pytest.fixture
def denoiser_of(gaussian_network):
    """A denoiser that is exact for images which vary equally in so many of 144 pixels, and hardly in the others."""

    def make_denoiser(directions):
        variances = torch.where(torch.arange(144) < directions, 0.04, 1e-6).double()
        scheduler = DDPMScheduler()
        network = gaussian_network(torch.zeros(SHAPE, dtype=torch.double), torch.diag(variances), scheduler)
        return Denoiser(network.float(), scheduler)

    return make_denoiser


def bright(images):
    light = (images - 0.5).flatten(1).sum(dim=1)
    return torch.stack([-light, light - 1], dim=1)


def searched(denoiser, **search):
    image = torch.full(SHAPE, 0.5)
    return settled_search(make(Settings, {"search": search}).search, denoiser, image, "logits", seed=0)


def test_few_directions_get_the_defaults_as_they_are_written(denoiser_of):
    assert searched(denoiser_of(FEW)) == SharedSearch()


def test_many_directions_get_rough_gradients_at_every_step(denoiser_of):
    found = searched(denoiser_of(LOTS))
    rough = {"strength": 0.5, "refresh": 1, "unpaid": 2, "estimate": "cross_covariance"}
    rough |= {"spread": NARROW, "momentum": 0.0, "rounds": 1}
    assert found == SharedSearch(queries=800, fidelity=0.5, trim=133, **rough)


@pytest.mark.parametrize("name", OPEN)
def test_what_is_named_stays_and_the_rest_is_settled(denoiser_of, name):
    values = {
        "queries": 333,
        "strength": 0.3,
        "fidelity": 0.2,
        "refresh": 5,
        "unpaid": 9,
        "estimate": "cross_covariance",
        "trim": 40,
        "rounds": 2,
        "momentum": 0.5,
        "spread": 1.2,
    }
    found = searched(denoiser_of(LOTS), **{name: values[name]})
    follows = {"trim": 333 // 6} if name == "queries" else {}
    assert found == SharedSearch(**{**dict(searched(denoiser_of(LOTS))), name: values[name], **follows})


def test_a_search_that_cannot_go_on_guides_its_particles_more_alike(denoiser_of):
    assert searched(denoiser_of(FEW)).spread > searched(denoiser_of(FEW), rounds=1).spread == NARROW
    assert searched(denoiser_of(FEW), queries=25).spread == NARROW
    assert searched(denoiser_of(FEW), queries=25, spread=1.5).spread == 1.5
    assert searched(denoiser_of(FEW), queries=40).later != []
    top = make(Settings, {"search": {"queries": 25}}).search.settled(FEW, "top_k")
    assert (top.later, top.spread) == ([], NARROW)


def test_a_named_estimate_decides_for_the_others(denoiser_of):
    assert searched(denoiser_of(LOTS), estimate="sigma_points") == SharedSearch()
    assert searched(denoiser_of(FEW), estimate="cross_covariance") == searched(denoiser_of(LOTS))


@pytest.mark.parametrize("queries", [10, 25, 50, 100, 200, 400, 1000])
def test_a_gradient_is_used_longer_if_there_are_few_queries(denoiser_of, queries):
    found = searched(denoiser_of(LOTS), queries=queries)
    assert found.queries == queries
    assert found.trim == (queries // 6 if queries // 6 >= 11 else 0)
    assert found.refresh == 1 or SharedSearch(**{**dict(found), "refresh": found.refresh - 1}).queries_per_gradient < 4
    assert found.queries_per_gradient >= 4 or queries == 10  # which buy no gradient of 4


def test_the_limit_lies_between_digits_and_photographs():
    assert WITHOUT_NAMES.settled(MANY - 0.01).estimate == "sigma_points"
    assert WITHOUT_NAMES.settled(MANY).estimate == "cross_covariance"
    assert 23.1 < MANY < 38.8  # the most around digits and X-rays, the least around photographs


@pytest.mark.parametrize("search", [SharedSearch(), SharedSearch(queries=77), PaperSearch()])
def test_an_object_leaves_nothing_open_and_costs_no_denoising(denoiser_of, search):
    denoiser = denoiser_of(LOTS)
    kept = FreeMCG(bright, denoiser, search=search).settings.search
    before = list(denoiser.unet.batches)
    assert settled_search(kept, denoiser, torch.full(SHAPE, 0.5), "logits", seed=0) == search
    assert denoiser.unet.batches == before


def test_the_particles_that_are_counted_cost_no_query(denoiser_of):
    denoiser = denoiser_of(LOTS)
    before = sum(denoiser.unet.batches)
    searched(denoiser)
    assert sum(denoiser.unet.batches) - before == PARTICLES


def test_a_result_holds_what_was_settled_and_stays_within_it(denoiser_of):
    for directions, most, estimate in ((FEW, 50, "sigma_points"), (LOTS, 800, "cross_covariance")):
        box = BlackBox(bright)
        result = FreeMCG(box, denoiser_of(directions)).counterfactual(torch.full(SHAPE, 0.5))
        assert result.record["settings"]["search"]["estimate"] == estimate
        assert result.flipped
        assert result.record["settings"]["search"]["queries"] == most
        assert 0.9 * most - 9 < result.queries == box.queries <= most


def test_the_dearest_search_bounds_every_image():
    assert WITHOUT_NAMES.dearest().queries == 800
    assert make(Settings, {"search": {"queries": 60}}).search.dearest().queries == 60
    named = make(Settings, {"search": {"queries": 400}}).search
    assert named.dearest() == named.settled(MANY)  # as many queries, in more calls
    assert len(named.settled(MANY).calls) > len(named.settled(0).calls)
    assert WITHOUT_NAMES.settled(0, "top_k").queries == 100
    assert WITHOUT_NAMES.dearest("top_k").queries == 800


@pytest.mark.parametrize("directions", [FEW, LOTS])
def test_guidance_by_true_gradients_is_settled_alike(denoiser_of, directions):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(144, 2)).eval()
    denoiser, image = denoiser_of(directions), torch.full(SHAPE, 0.5)
    found = DiffusionGuided(network, denoiser).counterfactual(image)
    settled = searched(denoiser).model_copy(update={"spread": NARROW})
    assert found.record["settings"]["search"] == settled.model_dump(mode="json")
    named = DiffusionGuided(network, denoiser, search=settled).counterfactual(image)
    torch.testing.assert_close(found.image, named.image)
    assert DiffusionGuided(network, denoiser, search=SharedSearch()).search.left_open == []


def test_guidance_by_true_gradients_does_the_shared_search_alone(denoiser_of):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(144, 2)).eval()
    with pytest.raises(ValueError, match=r"^DiffusionGuided does the shared search with true gradients, got 'paper'"):
        DiffusionGuided(network, denoiser_of(FEW), search={"method": "paper"})


# --- the noise level of a map ---


def explained(denoiser, **settings):
    explainer = FreeMCG(bright, denoiser, **settings)
    return explainer, explainer.explain(torch.full(SHAPE, 0.5))


SETTLED = [(FEW, 0.2, "control_variate"), (LOTS, 0.5, "cross_covariance")]


@pytest.mark.parametrize(("directions", "noise", "estimate"), SETTLED)
def test_a_map_of_unnamed_noise_is_the_one_that_the_image_decides(denoiser_of, directions, noise, estimate):
    denoiser = denoiser_of(directions)
    explainer, result = explained(denoiser)
    _, named = explained(denoiser, noise=noise, estimate=estimate)
    torch.testing.assert_close(result.values, named.values)
    assert result.queries == named.queries == 65
    assert result.record["settings"] == named.record["settings"]
    assert result.record["settings"]["noise"] == [noise]
    assert explainer.settings.left_open == ["noise", "estimate"]


def test_a_named_estimate_of_a_map_stays(denoiser_of):
    _, result = explained(denoiser_of(LOTS), estimate="regression")
    made_with = result.record["settings"]
    assert (made_with["noise"], made_with["estimate"]) == ([0.5], "regression")


@pytest.mark.parametrize("noise", [0.2, (0.1, 0.3)])
def test_a_named_noise_stays(denoiser_of, noise):
    explainer, result = explained(denoiser_of(LOTS), noise=noise)
    made_with = result.record["settings"]
    assert (made_with["noise"], made_with["estimate"]) == (list(explainer.settings.noise), "control_variate")
    assert explainer.settings.settled(LOTS) == explainer.settings


def test_the_particles_that_were_counted_are_used_where_the_level_stays(denoiser_of):
    for directions, drawn in ((FEW, 256), (LOTS, 64 + PARTICLES)):
        denoiser = denoiser_of(directions)
        denoiser.check_size(torch.full((1, *SHAPE), 0.5))
        denoiser.unet.batches.clear()
        explained(denoiser)
        assert sum(denoiser.unet.batches) == drawn


def test_every_kind_of_map_is_settled_alike(denoiser_of):
    explainer, image = FreeMCG(bright, denoiser_of(LOTS)), torch.full(SHAPE, 0.5)
    maps = [
        explainer.explain(image),
        explainer.explain(image, tolerance=0.9),
        *explainer.contrasts(image, [0, 1]).values(),
        explainer.difference(lambda images: 2 * bright(images), image),
    ]
    assert [each.record["settings"]["noise"] for each in maps] == [[0.5]] * 4


def test_a_contestant_with_a_noise_of_its_own_leaves_nothing_open(denoiser_of):
    """The level is the one that is written in the settings, where an unnamed one would become 0.5."""
    explainer, image = FreeMCG(bright, denoiser_of(LOTS)), torch.full(SHAPE, 0.5)
    entry = Entry(method="freemcg", label="fine", settings={"noise": 0.2})
    (contestant,) = make_contestants([entry], explainer, {})
    _, named = explained(denoiser_of(LOTS), noise=0.2)
    assert torch.equal(contestant.attribute(image[None], 0)[0], named.values)


class DependsOnItsBatch(torch.nn.Module):
    """A network whose answers differ a little with the number of images in a call, as those of large ones do."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.eval()

    def forward(self, x_t, t):
        answer = self.network(x_t, t)
        answer.sample *= 1 + 1e-5 * len(x_t)
        return answer


REPLAYED = [
    {"batch_size": 48},
    {"batch_size": 64},
    {"batch_size": 100, "particles": 65},
    {"budget": 9, "estimate": "cross_covariance"},
    {"estimate": "regression", "queries": 101},
]


@pytest.mark.parametrize("settings", REPLAYED)
def test_a_map_of_unnamed_noise_is_replayed_to_the_last_digit(denoiser_of, settings):
    exact, settings = denoiser_of(FEW), dict(settings)
    batch_size = settings.pop("batch_size", 64)
    denoiser = Denoiser(DependsOnItsBatch(exact.unet), DDPMScheduler(), batch_size=batch_size)
    box = BlackBox(bright, budget=settings.pop("budget", None))
    with box.recording() as receipt:
        result = FreeMCG(box, denoiser, **settings).explain(torch.full(SHAPE, 0.5))
    assert result.record["settings"]["noise"] == [0.2]
    assert not differences(result, replay(result, receipt, denoiser))


def test_nothing_is_trimmed_where_only_labels_tell_how_sure_an_answer_is():
    assert WITHOUT_NAMES.settled(MANY, "label").trim == 0
    assert make(Settings, {"search": {"copies": 2}}).search.settled(MANY, "logits").trim == 0
    assert WITHOUT_NAMES.settled(MANY, "logits").trim == 800 // 6


def test_nothing_is_trimmed_if_too_little_is_left_for_the_gradients():
    tight = {"queries": 66, "refresh": 1, "steps": 27}
    assert SharedSearch(**tight, trim=0).queries_per_gradient == 2
    assert make(Settings, {"search": tight}).search.settled(MANY).trim == 0
