from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, fields, replace

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from freemcg import Attribution, Counterfactual
from freemcg.ensemble import ErrorParts, control_variate, cross_covariance
from freemcg.files.tensors import load_tensors, save_tensors
from freemcg.messages.errors import InvalidValue
from freemcg.results import Status


@pytest.fixture
def attribution(rng) -> Attribution:
    return Attribution(
        values=torch.randn(1, 3, 4, generator=rng),
        standard_error=torch.rand(1, 3, 4, generator=rng),
        image=torch.rand(1, 3, 4, generator=rng),
        log_probabilities=torch.tensor([0.25, 0.75]).log(),
        target=1,
        decision=1,
        status="complete",
        queries=65,
        seconds=0.5,
        record={"settings": {"seed": 3}, "class_names": ["cat", "dog"]},
        error_parts=asdict(ErrorParts(0.5, 2.0, math.inf, 21)),
        projected_gradient=torch.randn(1, 3, 4, generator=rng),
        projected_error=torch.rand(1, 3, 4, generator=rng),
    )


@pytest.fixture
def counterfactual(rng) -> Counterfactual:
    image, original = torch.rand(2, 1, 3, 4, generator=rng)
    return Counterfactual(
        image=image,
        original=original,
        path=torch.rand(5, 1, 3, 4, generator=rng),
        log_probabilities=torch.tensor([0.1, 0.9]).log(),
        original_log_probabilities=torch.tensor([0.8, 0.2]).log(),
        target=1,
        decision=1,
        original_decision=0,
        l1=0.1,
        l2=0.4,
        realism=0.9,
        status="complete",
        queries=105,
        seconds=4.0,
        record={},
        path_log_probabilities=torch.randn(5, 2, generator=rng).log_softmax(dim=1),
    )


def mapped(attribution, values, error, **changes) -> Attribution:
    """The attribution with other values, and the same error everywhere."""
    values = torch.as_tensor(values).reshape(1, 1, -1)
    return replace(attribution, values=values, standard_error=torch.full_like(values, error), **changes)


@pytest.mark.parametrize("kind", ["attribution", "counterfactual"])
def test_a_saved_result_is_loaded_to_the_last_bit(kind, request, tmp_path):
    result = request.getfixturevalue(kind)
    path = result.save(tmp_path / "deep" / "result.safetensors")
    loaded = type(result).load(path)
    for field in fields(result):
        kept, back = getattr(result, field.name), getattr(loaded, field.name)
        assert torch.equal(kept, back) if isinstance(kept, Tensor) else kept == back
    assert [entry.name for entry in path.parent.iterdir()] == ["result.safetensors"]


def test_a_counterfactual_of_an_older_version_has_no_answers_along_its_path(counterfactual, tmp_path):
    """What an older version did not know is not written if there is none, so it can read the file too."""
    path = replace(counterfactual, path_log_probabilities=None).save(tmp_path / "result.safetensors")
    assert "path_log_probabilities" not in json.loads(load_tensors(path, "result")[1]["result"])
    older = Counterfactual.load(path)
    assert older.path_log_probabilities is None
    assert torch.equal(older.path, counterfactual.path)


@pytest.mark.parametrize("kind", ["attribution", "counterfactual"])
def test_a_status_is_one_of_the_known_and_reads_as_its_string(kind, request, tmp_path):
    result = replace(request.getfixturevalue(kind), status=Status.MODEL_CHANGED)
    status = type(result).load(result.save(tmp_path / "result.safetensors")).status
    assert status is Status.MODEL_CHANGED
    assert status == "model_changed" == f"{status}" == json.loads(json.dumps(status))


def test_the_header_can_be_read_without_this_package(attribution, tmp_path):
    from safetensors import safe_open

    with safe_open(attribution.save(tmp_path / "a.safetensors"), framework="np") as stored:
        assert json.loads(stored.metadata()["result"])["queries"] == 65


def test_derived_figures(attribution, counterfactual):
    wanted = (attribution.values.square().sum() / attribution.standard_error.square().sum()).sqrt().item()
    assert attribution.signal_to_noise == pytest.approx(wanted)
    assert counterfactual.flipped
    assert counterfactual.target_probability == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("values", "error", "relative", "reliability"),
    [
        ([3.0, 4.0, 0.0, 0.0], 0.5, 0.2, 0.96),
        ([3.0, 4.0, 0.0, 0.0], 2.5, 1.0, 0.0),
        ([3.0, 4.0, 0.0, 0.0], 25.0, 10.0, 0.0),
        ([3.0, 4.0, 0.0, 0.0], 0.0, 0.0, 1.0),
        ([3.0, 4.0, 0.0, 0.0], math.inf, math.inf, 0.0),
        ([0.0, 0.0, 0.0, 0.0], math.inf, math.inf, 0.0),
        ([0.0, 0.0, 0.0, 0.0], 0.5, math.inf, 0.0),
    ],
)
def test_reliability_is_the_share_of_the_square_that_is_no_error(attribution, values, error, relative, reliability):
    result = mapped(attribution, values, error)
    assert result.relative_error == pytest.approx(relative)
    assert result.reliability == pytest.approx(reliability, abs=1e-6)


@pytest.mark.parametrize(("wanted", "queries"), [(0.8, 65), (0.9, 145), (0.5, 17)])
def test_queries_for_inverts_the_error_that_falls_as_one_over_the_queries(attribution, wanted, queries):
    """`|map|^2 = 25` with an error of 5 has a signal of 20. Reliability 0.9 allows an error of 20/9; 0.5 allows 20."""
    result = mapped(attribution, [3.0, 4.0, 0, 0, 0], 1.0, error_parts=asdict(ErrorParts(0.0, 5.0, math.inf, 64)))
    assert result.reliability == pytest.approx(0.8)
    assert result.queries_for(wanted) in (queries, queries + 1)  # rounded up


def test_queries_for_keeps_the_share_of_the_paid_particles(attribution):
    """21 of 64 queries were particles, so 42 particles need 128 queries."""
    parts = ErrorParts(1.0, 4.0, math.inf, 21)
    result = mapped(attribution, [3.0, 4.0, 0, 0, 0], 1.0, error_parts=asdict(parts))
    assert result.queries_for(20 / 23) in (129, 130)  # the error may be 3: that is 1, and half of 4


def test_queries_for_what_no_number_of_queries_reaches(attribution):
    parts = ErrorParts(1.0, 4.0, math.inf, 21)
    result = mapped(attribution, [3.0, 4.0, 0, 0, 0], 1.0, error_parts=asdict(parts))
    assert result.queries_for(20 / 20.9) == math.inf
    easy = replace(result, error_parts=asdict(ErrorParts(1.0, 4.0, 4.0, 21)))
    assert easy.queries_for(0.5) == 2  # the linear model alone is good enough


@pytest.mark.parametrize("wanted", [0, 1, -0.2, 1.5, math.nan])
def test_a_reliability_that_cannot_be_is_refused(attribution, wanted):
    with pytest.raises(ValueError) as caught:
        attribution.queries_for(wanted)
    assert str(caught.value) == f"reliability must be in (0, 1), got {wanted}"


@pytest.mark.parametrize("changes", [{"error_parts": None}, {"values": torch.zeros(1, 3, 4)}])
def test_a_map_without_a_forecast_is_refused(attribution, changes):
    with pytest.raises(ValueError) as caught:
        replace(attribution, **changes).queries_for(0.9)
    expected = "this map gives no forecast; explain with more queries and estimate='control_variate'"
    assert str(caught.value) == expected


def test_significant_is_the_step_up_procedure(attribution, rng):
    """A loop finds by hand the largest `k` for which `k` p-values are at most `rate k / n`."""
    values = torch.randn(200, generator=rng) * 2
    result = mapped(attribution, values, 1.0)
    normal = torch.distributions.Normal(0.0, 1.0)
    chances = [2 * (1 - normal.cdf(v.abs().double())).item() for v in values]
    for rate in (0.01, 0.05, 0.3):
        largest = max(k for k in range(201) if k == 0 or sum(p <= rate * k / 200 for p in chances) >= k)
        told = sorted(range(200), key=chances.__getitem__)[:largest]
        found = result.significant(rate).flatten()
        assert 0 < largest < 200
        assert sorted(found.nonzero().flatten().tolist()) == sorted(told)


def test_at_most_the_rate_of_what_is_told_from_zero_is_zero(attribution, rng):
    """30 of 100 values lie 4 errors from zero. The others are noise alone."""
    false, power = [], []
    for _ in range(300):
        values = torch.randn(100, generator=rng) + torch.cat([torch.full((30,), 4.0), torch.zeros(70)])
        told = mapped(attribution, values, 1.0).significant(0.1).flatten()
        false.append(told[30:].sum().item() / max(1, told.sum().item()))
        power.append(told[:30].double().mean().item())
    assert 0.05 < sum(false) / 300 < 0.09  # 70 % are zero, so it is 0.07
    assert sum(power) / 300 > 0.9


@pytest.mark.parametrize("error", [math.inf, 1e9])
def test_nothing_is_told_from_zero_where_the_error_is_not_known(attribution, error):
    assert not mapped(attribution, [3.0, -4.0, 0.0], error).significant().any()


def test_zeros_are_told_from_zero_by_no_error(attribution):
    assert mapped(attribution, [3.0, -4.0, 0.0], 0.0).significant().flatten().tolist() == [True, True, False]


@pytest.mark.parametrize("estimate", ["control_variate", "cross_covariance"])
def test_in_a_map_of_shuffled_answers_mostly_nothing_is_significant(attribution, estimate, rng):
    particles = torch.randn(200, 12, generator=rng) @ torch.randn(12, 12, generator=rng)
    values, told = torch.tanh(particles[:60, 0]), 0
    for _ in range(200):
        shuffled = values[torch.randperm(60, generator=rng)]
        if estimate == "control_variate":
            answer = control_variate(particles, torch.zeros(200), shuffled)
        else:
            answer = cross_covariance(particles[:60], shuffled[:, None], torch.ones(1))
        result = replace(attribution, values=answer.gradient, standard_error=answer.standard_error)
        told += bool(result.significant().any())
    assert told / 200 < 0.08
    plain = cross_covariance(particles[:60], values[:, None], torch.ones(1))
    assert replace(attribution, values=plain.gradient, standard_error=plain.standard_error).significant().any()


def test_what_cannot_be_loaded_is_named(attribution, tmp_path):
    path = attribution.save(tmp_path / "a.safetensors")
    with pytest.raises(ValueError) as caught:
        Counterfactual.load(path)
    assert str(caught.value) == f"{path} holds a Attribution, not a Counterfactual"
    with pytest.raises(FileNotFoundError, match=r"there is no result .*missing"):
        Attribution.load(tmp_path / "missing")
    (tmp_path / "half").write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"half is not a saved result"):
        Attribution.load(tmp_path / "half")


@pytest.mark.parametrize("held", [None, "{}", "[", "[1]", '{"status": "x"}', "[" * 100_000])
def test_a_header_of_another_version_is_refused_with_the_file(held, tmp_path):
    path = tmp_path / "a.safetensors"
    header = {"kind": "Attribution"} | ({} if held is None else {"result": held})
    save_file({"values": torch.zeros(1)}, path, metadata=header)
    with pytest.raises(
        InvalidValue, match=rf"^{re.escape(str(path))} does not hold what this version keeps of a result"
    ):
        Attribution.load(path)


def test_a_folder_of_the_users_is_no_place_for_a_result(attribution, tmp_path):
    with pytest.raises(InvalidValue, match=rf"^{re.escape(str(tmp_path))} is a folder; name a file in it, such as "):
        attribution.save(tmp_path)
    assert list(tmp_path.parent.glob(f"{tmp_path.name}*")) == [tmp_path]


# --- contributions ---

COLOURED = torch.tensor([0.2, 0.5, 0.8]).reshape(3, 1, 1)


@pytest.fixture
def coloured(attribution, rng) -> Attribution:
    """An attribution of an image with three channels."""
    names = ("values", "standard_error", "image", "projected_gradient", "projected_error")
    return replace(attribution, **{name: torch.rand(3, 2, 4, generator=rng) for name in names})


def test_a_contribution_is_the_projected_gradient_times_what_exceeds_the_mean_colour(coloured):
    found = coloured.contribution()
    mean = torch.stack([channel.mean() for channel in coloured.image]).reshape(3, 1, 1).expand(3, 2, 4)
    torch.testing.assert_close(found.baseline, mean)
    torch.testing.assert_close(found.values, coloured.projected_gradient * (coloured.image - mean))
    torch.testing.assert_close(found.standard_error, coloured.projected_error * (coloured.image - mean).abs())
    assert (found.error_parts, found.projected_gradient, found.projected_error) == (None, None, None)
    assert (found.queries, found.status, found.record) == (coloured.queries, coloured.status, coloured.record)


@pytest.mark.parametrize(
    ("baseline", "wanted"),
    [
        (0, torch.zeros(3, 1, 1)),
        (0.25, torch.full((3, 1, 1), 0.25)),
        (COLOURED, COLOURED),
        (COLOURED.tolist(), COLOURED),
        (COLOURED[None].double(), COLOURED),
        (torch.linspace(0, 1, 24).reshape(3, 2, 4), torch.linspace(0, 1, 24).reshape(3, 2, 4)),
    ],
)
def test_a_baseline_is_a_brightness_or_an_image(coloured, baseline, wanted):
    found = coloured.contribution(baseline)
    torch.testing.assert_close(found.baseline, wanted.expand(3, 2, 4))
    torch.testing.assert_close(found.values, coloured.projected_gradient * (coloured.image - wanted))


def test_twice_the_difference_adds_twice_as_much_with_twice_the_error(coloured):
    dark = replace(coloured, image=coloured.image / 2)
    one, two = dark.contribution(0), coloured.contribution(0)
    torch.testing.assert_close(two.values, 2 * one.values)
    torch.testing.assert_close(two.standard_error, 2 * one.standard_error)
    assert two.reliability == pytest.approx(one.reliability)


def test_a_pixel_as_in_the_baseline_adds_nothing_for_certain(coloured):
    baseline = coloured.image.clone()
    baseline[:, 0] = 0
    unknown = replace(coloured, projected_error=torch.full_like(coloured.image, math.inf))
    found = unknown.contribution(baseline)
    assert (found.values[:, 1] == 0).all()
    assert (found.standard_error[:, 1] == 0).all()
    assert (found.standard_error[:, 0] == math.inf).all()
    assert not found.significant().any()


@pytest.mark.parametrize(
    ("baseline", "message"),
    [
        (1.5, "baseline must be in [0, 1], got 1.5 to 1.5"),
        (math.nan, "baseline must be in [0, 1], got nan to nan"),
        (COLOURED - 0.3, "baseline must be in [0, 1], got -0.1 to 0.5"),
        (torch.zeros(3), "baseline must be a brightness or a tensor that fits (3, 2, 4), got (3,)"),
        (torch.zeros(2, 3, 2, 4), "baseline must be a brightness or a tensor that fits (3, 2, 4), got (2, 3, 2, 4)"),
        ("black", "baseline must be a brightness or a tensor that fits (3, 2, 4), got 'black'"),
    ],
)
def test_what_is_no_baseline_is_refused(coloured, baseline, message):
    with pytest.raises(ValueError) as caught:
        coloured.contribution(baseline)
    assert str(caught.value) == message


def test_without_a_projected_gradient_there_is_no_contribution(coloured):
    older = replace(coloured, projected_gradient=None, projected_error=None)
    for result, why in (
        (older, "an older version saved it"),
        (coloured.contribution(), "it is a contribution already"),
    ):
        with pytest.raises(ValueError) as caught:
            result.contribution()
        assert str(caught.value) == f"the result holds no projected gradient, since {why}; explain the image again"


def test_a_contribution_is_saved_and_loaded_to_the_last_bit(coloured, tmp_path):
    found = coloured.contribution(COLOURED)
    loaded = Attribution.load(found.save(tmp_path / "contribution.safetensors"))
    for name in ("values", "standard_error", "baseline"):
        assert torch.equal(getattr(found, name), getattr(loaded, name))
    assert loaded.projected_gradient is None


def test_a_result_of_an_older_version_is_loaded(attribution, tmp_path):
    """Its file holds neither a projected gradient nor a baseline."""
    path = attribution.save(tmp_path / "result.safetensors")
    tensors, header = load_tensors(path, "result")
    del tensors["projected_gradient"], tensors["projected_error"]
    assert "baseline" not in json.loads(header["result"])  # what is not there is left out, so older versions read it
    save_tensors(tensors, path, header)
    loaded = Attribution.load(path)
    assert (loaded.projected_gradient, loaded.projected_error, loaded.baseline) == (None, None, None)
    assert torch.equal(loaded.values, attribution.values)
