from __future__ import annotations

import json
from dataclasses import fields

import pytest
import torch
from torch import Tensor

from freemcg import Attribution, Counterfactual


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
    )


@pytest.mark.parametrize("kind", ["attribution", "counterfactual"])
def test_a_saved_result_is_loaded_to_the_last_bit(kind, request, tmp_path):
    result = request.getfixturevalue(kind)
    path = result.save(tmp_path / "deep" / "result.safetensors")
    loaded = type(result).load(path)
    for field in fields(result):
        kept, back = getattr(result, field.name), getattr(loaded, field.name)
        assert torch.equal(kept, back) if isinstance(kept, Tensor) else kept == back
    assert [entry.name for entry in path.parent.iterdir()] == ["result.safetensors"]


def test_the_header_can_be_read_without_this_package(attribution, tmp_path):
    from safetensors import safe_open

    with safe_open(attribution.save(tmp_path / "a.safetensors"), framework="np") as stored:
        assert json.loads(stored.metadata()["result"])["queries"] == 65


def test_derived_figures(attribution, counterfactual):
    wanted = (attribution.values.square().sum() / attribution.standard_error.square().sum()).sqrt().item()
    assert attribution.signal_to_noise == pytest.approx(wanted)
    assert counterfactual.flipped
    assert counterfactual.target_probability == pytest.approx(0.9)


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
