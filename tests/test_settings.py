from __future__ import annotations

import inspect
import json
import re

import pytest
import torch
import yaml
from pydantic import ValidationError

from freemcg import FreeMCG, PaperSearch, Settings, SharedSearch
from freemcg.files.config import config_folder, read_config
from freemcg.gradient.objective import OBJECTIVES, named
from freemcg.messages.errors import InvalidValue
from freemcg.settings import OBJECTIVES as NAMED
from freemcg.settings import make
from freemcg.training import ClassifierTraining, DenoiserTraining, VaeTraining

CONFIGS = {
    "paper": Settings,
    "digits-classifier": ClassifierTraining,
    "digits-judge": ClassifierTraining,
    "mnist-classifier": ClassifierTraining,
    "mnist-denoiser": DenoiserTraining,
    "mnist-judge": ClassifierTraining,
    "cifar10-vae": VaeTraining,
    "mnist-vae": VaeTraining,
    "xray-vae": VaeTraining,
    "manifold-classifier": ClassifierTraining,
    "cifar10-denoiser": DenoiserTraining,
    "digits-denoiser": DenoiserTraining,
    "xray-classifier": ClassifierTraining,
    "xray-denoiser": DenoiserTraining,
    "xray-judge": ClassifierTraining,
    "digits-vae": VaeTraining,
    "shapes-classifier": ClassifierTraining,
    "shapes-denoiser": DenoiserTraining,
}


def raises(message, kind=ValueError):
    return pytest.raises(kind, match=f"^{re.escape(message)}$")


def quick(log_probabilities, target):
    return log_probabilities[:, target]


# --- values that are refused ---


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"particels": 3}, "unknown setting 'particels'; did you mean 'particles'?"),
        ({"querys": 3}, "unknown setting 'querys'; did you mean 'queries'?"),
        (
            {"zzzz": 1},
            "unknown setting 'zzzz'; known are particles, queries, tolerance, noise, estimate, objective, search, "
            "ask_path, seed",
        ),
        (
            {"search": {"method": "shared", "refesh": 3}},
            "unknown setting 'search.refesh'; did you mean 'refresh'?",
        ),
        ({"search": {"method": "paper", "step": 3}}, "unknown setting 'search.step'; did you mean 'steps'?"),
        (
            {"search": {"method": "paper", "zzzz": 3}},
            "unknown setting 'search.zzzz'; known are method, particles, strength, steps, eta, guidance, proximity",
        ),
        ({"search": {"method": "fast"}}, "search.method must be 'shared' or 'paper', got 'fast'"),
        ({"particles": 1}, "particles must be >= 2, got 1"),
        ({"queries": 2}, "queries must be >= 3, got 2"),
        ({"noise": 0}, "a noise level is a fraction of the schedule in (0, 1], got 0.0"),
        ({"noise": [0.1, 1.5]}, "a noise level is a fraction of the schedule in (0, 1], got 1.5"),
        ({"noise": float("nan")}, "noise.0 must be a finite number, got nan"),
        (
            {"estimate": "sigma"},
            "estimate must be one of control_variate, sigma_points, cross_covariance, regression, per_particle, "
            "got 'sigma'",
        ),
        (
            {"objective": "odds"},
            "objective must be one of log_odds, log_probability, logit, margin or a callable, got 'odds'",
        ),
        ({"estimate": 3}, "estimate must be a string, got 3"),
        ({"search": {"method": "shared", "strength": 0}}, "search.strength must be > 0, got 0"),
        ({"search": {"method": "shared", "strength": 1.1}}, "search.strength must be <= 1, got 1.1"),
        ({"search": {"method": "shared", "eta": -1}}, "search.eta must be >= 0, got -1"),
        ({"search": {"method": "shared", "confidence": 1}}, "search.confidence must be < 1, got 1"),
        ({"search": {"method": "shared", "particles": 0}}, "search.particles must be >= 1, got 0"),
        ({"search": {"method": "shared", "queries": 0}}, "search.queries must be >= 1, got 0"),
        (
            {"search": {"method": "shared", "queries": 9}},
            "search.queries must be >= 10 for 4 gradients, got 9; raise it, or raise search.refresh",
        ),
        (
            {"search": {"queries": 9, "steps": 24, "refresh": 1}},
            "search.queries must be >= 55 for 23 gradients, got 9; raise it, or raise search.refresh",
        ),
        (
            {"search": {"queries": 9, "tries": 2}},
            "search.queries must be >= 19 for 2 tries of 4 gradients, got 9; raise it, or raise search.refresh",
        ),
        ({"search": {"budget": 50}}, "search.budget is called search.queries now; rename it"),
        ({"tolerance": 0}, "tolerance must be > 0, got 0"),
        ({"tolerance": -0.1}, "tolerance must be > 0, got -0.1"),
        (
            {"tolerance": 0.1, "estimate": "sigma_points"},
            "a tolerance needs an estimate with error bars, control_variate or cross_covariance; got 'sigma_points'",
        ),
        ({"search": {"method": "shared", "unpaid": 1}}, "search.unpaid must be >= 2, got 1"),
        ({"search": {"method": "shared", "refresh": 0}}, "search.refresh must be >= 1, got 0"),
        ({"search": {"method": "paper", "particles": 1}}, "search.particles must be >= 2, got 1"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_sentence(values, message):
    with raises(message):
        make(Settings, values)
    with raises(f"a.yaml: {message}"):
        make(Settings, values, source="a.yaml")


@pytest.mark.parametrize(
    "name", ["particles", "queries", "noise", "estimate", "objective", "search", "ask_path", "seed"]
)
@pytest.mark.parametrize("value", [None, {"a": 1}, []])
def test_a_value_of_the_wrong_type_is_named(name, value):
    with pytest.raises(ValueError, match=rf"^(unknown setting ')?{name}\b[^\n]*$") as caught:
        make(Settings, {name: value})
    assert not isinstance(caught.value, ValidationError)


@pytest.mark.parametrize("value", ["many", 2.5, float("inf"), True])
@pytest.mark.parametrize("name", ["particles", "queries"])
def test_a_count_must_be_a_whole_number(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be .*, got "):
        make(Settings, {name: value})


def test_training_settings_are_refused_alike():
    with raises("unknown setting 'stepps'; did you mean 'steps'?"):
        make(VaeTraining, {"stepps": 3})
    with raises("ema must be < 1, got 1"):
        make(DenoiserTraining, {"ema": 1})


# --- the queries of a search ---

LATER = ("queries", "tries", "rounds", "trim", "particles", "strength", "steps", "refresh")


def test_the_former_name_of_a_search_s_queries_is_refused_with_the_new_one():
    for refused in (lambda: SharedSearch(budget=50), lambda: FreeMCG(quick, None, search={"budget": 50})):
        with pytest.raises(ValueError, match=r"search\.budget is called search\.queries now; rename it"):
            refused()


@pytest.mark.parametrize("queries", [17, 18, 23, 50, 99, 200])
@pytest.mark.parametrize("particles", [1, 2, 8, 40])
@pytest.mark.parametrize("refresh", [4, 6, 23])
@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_queries_are_shared_by_the_image_the_gradients_and_the_checks(queries, particles, refresh, rounds):
    search = SharedSearch(queries=queries, particles=particles, refresh=refresh, rounds=rounds)
    assert search.gradients == len(range(0, 23, refresh))
    assert search.queries_per_gradient >= 2
    assert 1 <= search.checks <= particles + 1
    first = queries - 1 - sum(each.queries - 1 for each in search.later)
    spent = search.gradients * search.queries_per_gradient + search.checks
    assert spent <= first
    kept = max(1, min(particles, (1 + first) // (9 if search.later else 6)))
    assert search.checks >= kept
    assert search.gradients * (search.queries_per_gradient + 1) + kept > first  # no gradient could have more
    assert sum(search.calls) == 1 + spent + sum(sum(each.calls) - 1 for each in search.later) <= queries


@pytest.mark.parametrize("queries", [17, 32, 33, 50, 400])
def test_a_later_round_has_a_quarter_of_the_queries_and_one_gradient_from_half_the_noise(queries):
    search = SharedSearch(queries=queries, rounds=3)
    for later in search.later:
        assert later.queries - 1 == (queries - 1) // 4
        assert (later.gradients, later.steps, later.strength, later.particles) == (1, 8, 0.3, 4)
        assert later.queries_per_gradient >= 2
        assert later.checks >= 1
        assert later.later == []
        assert {name: value for name, value in later if name not in LATER} == {
            name: value for name, value in search if name not in LATER
        }
    assert len(search.later) == (0 if queries < 33 else 2)
    assert search.frames == 24 + 8 * len(search.later)


def test_no_later_round_takes_what_the_gradients_need():
    assert SharedSearch(queries=61, refresh=2, steps=24).later != []
    for queries in range(55, 90):  # a first round of 23 gradients of two queries, and 5 checks
        assert bool(SharedSearch(queries=queries, refresh=1).later) == (queries - 1 - (queries - 1) // 4 >= 46 + 5)
    assert SharedSearch(queries=200, copies=8, rounds=3).later == []
    assert SharedSearch(queries=800, rounds=1).later == []
    assert PaperSearch().later == []


@pytest.mark.parametrize("particles", [1, 8])
@pytest.mark.parametrize("refresh", [1, 3, 6])
def test_the_queries_that_a_refusal_names_are_the_least_that_is_taken(particles, refresh):
    with pytest.raises(ValueError, match=r"^search\.queries must be >= \d+ for \d+ gradients, got 1;") as caught:
        make(Settings, {"search": {"queries": 1, "particles": particles, "refresh": refresh}})
    least = int(re.search(r">= (\d+)", str(caught.value))[1])
    make(Settings, {"search": {"queries": least, "particles": particles, "refresh": refresh}})
    with pytest.raises(ValueError, match=rf">= {least} "):
        make(Settings, {"search": {"queries": least - 1, "particles": particles, "refresh": refresh}})


# --- values that are taken ---


@pytest.mark.parametrize(("given", "kept"), [(0.3, (0.3,)), (1, (1.0,)), ([0.1, 0.2], (0.1, 0.2)), ((0.5,), (0.5,))])
def test_noise_is_one_level_or_several(given, kept):
    assert make(Settings, {"noise": given}).noise == kept


def test_a_search_is_chosen_by_its_method():
    assert make(Settings, {"search": {"method": "paper", "steps": 7}}).search == PaperSearch(steps=7)
    assert make(Settings, {"search": {"method": "shared", "steps": 7}}).search == SharedSearch(steps=7)
    assert make(Settings, {}).search == SharedSearch()


def test_settings_do_not_change():
    with pytest.raises(ValidationError):
        make(Settings, {}).particles = 3


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_goes_by_its_name(name):
    assert named(make(Settings, {"objective": name}).objective) is OBJECTIVES[name]


def test_a_callable_objective_is_used_and_recorded_by_name():
    settings = make(Settings, {"objective": quick})
    rows = torch.rand(4, 3)
    assert torch.equal(named(settings.objective)(rows, 2), quick(rows, 2))
    assert settings.record()["objective"] == f"{__name__}.quick"


@pytest.mark.parametrize("search", [SharedSearch(refresh=3, eta=0.5), PaperSearch(steps=9)])
def test_a_record_is_json_from_which_the_settings_come_back(search):
    settings = make(Settings, {"noise": [0.1, 0.4], "seed": 5, "search": search, "estimate": "regression"})
    assert make(Settings, json.loads(json.dumps(settings.record()))) == settings


# --- defaults ---


def test_defaults_of_the_explainer_are_those_of_the_settings():
    given = inspect.signature(FreeMCG.__init__).parameters
    names = set(Settings.model_fields)
    assert names <= set(given)
    written = {name: given[name].default for name in names - {"search", "estimate", "noise"}}
    assert make(Settings, written) == Settings()
    assert FreeMCG(quick, None).settings == Settings()


def test_every_objective_that_settings_name_is_there():
    assert tuple(OBJECTIVES) == NAMED


def test_the_paper_config_is_the_papers_numbers():
    values, _ = read_config("paper")
    assert values["search"] == PaperSearch().model_dump()
    assert FreeMCG.paper(quick, None).settings == make(Settings, values)
    search = PaperSearch()
    assert (values["queries"], search.particles * search.steps) == (101, 10_000)
    assert (search.strength, search.eta, search.guidance, search.proximity) == (0.4, 1.0, 0.2, 0.02)


# --- configs ---


def test_every_config_is_known_here():
    assert {path.stem for path in config_folder().glob("*.yaml")} == set(CONFIGS)


@pytest.mark.parametrize(("name", "model"), CONFIGS.items())
def test_every_config_loads_and_every_value_of_it_arrives(name, model):
    values, source = read_config(name)
    assert source == str(config_folder() / f"{name}.yaml")
    assert read_config(source) == (values, source)

    def check(given, kept):
        for key, value in given.items():
            arrived = kept[key]
            if isinstance(value, dict):
                check(value, arrived)
            else:
                assert arrived == value

    check(values, make(model, values, source=source).model_dump(mode="json"))


def test_a_config_of_ones_own_is_read(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"particles": 12, "noise": [0.1, 0.3]}))
    values, source = read_config(str(path))
    assert source == str(path)
    assert make(Settings, values, source=source) == Settings(particles=12, noise=(0.1, 0.3))


def test_an_unknown_config_names_the_bundled_ones():
    known = ", ".join(sorted(CONFIGS))
    with raises(f"there is no config papers; bundled ones are {known}", FileNotFoundError):
        read_config("papers")


@pytest.mark.parametrize("content", ["", "- 1\n- 2\n", "particles", "3: 4"])
def test_a_config_that_is_no_mapping_is_refused(content, tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(content)
    with raises(f"{path} must hold a mapping of settings, 'name: value' a line"):
        read_config(str(path))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"a: [1", "expected ',' or ']', but got '<stream end>' (line 1)"),
        (b"b: 1\na: !!python/object/apply:os.getcwd []", "could not determine a constructor for the tag"),
        (b"a: \xff\xfe", "'utf-8' codec can't decode byte 0xff"),
        (b"a: \x07", "unacceptable character #x0007"),
        (b"a: 2020-13-45", "month must be in 1..12"),
        (b"a: 1\nb: {c: 1,\n  c: 2}", "'c' stands there twice (line 2)"),
    ],
)
def test_a_config_that_is_not_yaml_is_refused(content, problem, tmp_path):
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    with pytest.raises(InvalidValue, match=rf"^{re.escape(f'{path} is not YAML: {problem}')}[^\n]*$"):
        read_config(str(path))


def test_a_name_that_a_merge_brings_is_not_there_twice(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: &b {<<: *a, x: 3}\nc: {<<: *b, y: 4}")
    assert read_config(str(path))[0]["c"] == {"x": 3, "y": 4}


BOMB = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{f'*a{i - 1}, ' * 9}]\n" for i in range(1, 10))


@pytest.mark.parametrize("content", ["a: &a {b: *a}", f"a: {'[' * 60}{']' * 60}", f"a: {'[' * 9999}{']' * 9999}", BOMB])
def test_a_config_without_an_end_is_refused(content, tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(content)
    with raises(
        f"{path} nests deeper than 50 levels, or repeats too much by aliases; an alias (*name) must not stand "
        "within its own anchor (&name)"
    ):
        read_config(str(path))
