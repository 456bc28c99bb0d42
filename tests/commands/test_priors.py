"""Pipelines of several kinds, named on the command line."""

from __future__ import annotations

import diffusers
import pytest
import tiny
import torch
from kinds import DISCRETE, PIPELINES, save_pipeline
from unets import tiny_unet

from freemcg import Attribution, Counterfactual
from freemcg.__main__ import main

SCHEDULER = diffusers.DDPMScheduler(num_train_timesteps=20)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tiny.make_place(tmp_path, ("a.png",))


def run(task, out, *options):
    given = ["--model", "mine.py:brighter_right", "--denoiser", "prior", "--config", "tiny.yaml", "--out", out]
    return main([task, "pics", *given, *options])


def save_classes():
    torch.manual_seed(0)
    diffusers.DDPMPipeline(tiny_unet(num_class_embeds=5), SCHEDULER).save_pretrained("prior")


@pytest.mark.parametrize("task", ["attribute", "counterfactual"])
@pytest.mark.parametrize("kind", [*DISCRETE, *PIPELINES])
def test_a_pipeline_of_each_kind_explains_and_is_replayed(kind, task, place, capsys):
    save_pipeline(kind, "prior")
    assert run(task, "out") == 0
    result = (Attribution if task == "attribute" else Counterfactual).load(place / "out" / "a" / "result.safetensors")
    assert f":{kind.split(maxsplit=1)[0]}" in result.record["denoiser_identity"]
    found = result.values if task == "attribute" else result.image - result.original
    assert found.isfinite().all()
    assert found.abs().max() > 0
    assert main(["replay", "out"]) == 0
    assert "equal to the last digit" in capsys.readouterr().out


@pytest.mark.parametrize("task", ["attribute", "counterfactual"])
def test_a_class_is_named_recorded_and_replayed(task, place, capsys):
    save_classes()
    assert run(task, "out", "--condition", "3") == 0
    kind = Attribution if task == "attribute" else Counterfactual
    result = kind.load(place / "out" / "a" / "result.safetensors")
    assert result.record["condition"] == {"condition": 3, "guidance_scale": 1.0, "null_class": None}
    assert result.record["denoiser_identity"].endswith(":class 3")
    assert main(["replay", "out"]) == 0
    assert "equal to the last digit" in capsys.readouterr().out
    assert run(task, "out", "--condition", "2") == 2
    assert "out holds results made with another denoiser" in capsys.readouterr().err


def test_a_class_that_is_missing_is_asked_for_before_the_first_query(place, capsys):
    save_classes()
    assert run("attribute", "out") == 2
    assert (
        "the network of the denoiser needs a class; give condition (--condition), one of 0..4"
        in capsys.readouterr().err
    )
    assert main(["probe", "pics", "--model", "mine.py:brighter_right", "--denoiser", "prior"]) == 2
    assert tiny.asked(place) == []
