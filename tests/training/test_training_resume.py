"""A finished training gets more steps, and the right learning rate for them."""

from __future__ import annotations

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from freemcg.settings import make
from freemcg.training.data import ImageSet
from freemcg.training.loop import train
from freemcg.training.schedule import relative_rate
from freemcg.training.settings import Training

QUICK = {"steps": 6, "batch_size": 4, "warmup": 2, "ema": 0.9}


def run(out, **more):
    """Train 16 numbers to predict the mean of a picture. Return the network, the record and the size of each batch."""
    images = (torch.rand(32, 1, 4, 4, generator=torch.Generator().manual_seed(1)) * 255).to(torch.uint8)
    torch.manual_seed(0)
    network = nn.Linear(16, 1)
    sizes = []

    def loss(model, batch, labels, generator):
        sizes.append(len(batch))
        return (model(batch.flatten(1)) - batch.mean(dim=(1, 2, 3))[:, None]).square().mean()

    settings = make(Training, {**QUICK, **more})
    trained, record = train(network, loss, ImageSet(images), settings, out, Accelerator())
    return trained, record, sizes


def test_a_finished_run_goes_on_where_more_steps_are_asked_for(tmp_path):
    flat = {"schedule": "warmup_stable_decay", "decay": 1e-6}  # a constant rate, since the decay is shorter than a step
    whole, _, _ = run(tmp_path / "whole", steps=10, **flat)
    run(tmp_path / "out", **flat)
    longer, record, sizes = run(tmp_path / "out", steps=10, **flat)
    assert sizes == [4] * 4
    torch.testing.assert_close(longer.weight, whole.weight, rtol=0, atol=0)
    first, second = record["runs"]
    assert (first["from_step"], first["to_step"], first["changed"]) == (0, 6, {})
    assert (second["from_step"], second["to_step"], second["changed"]) == (6, 10, {"steps": [6, 10]})
    assert record["seconds"] == pytest.approx(first["seconds"] + second["seconds"], abs=0.06)
    assert [step for step, _ in record["loss_curve"]] == [6, 10]
    assert record["settings"]["steps"] == 10


def test_the_settings_that_may_change_do(tmp_path):
    run(tmp_path)
    _, record, sizes = run(tmp_path, steps=9, batch_size=2, learning_rate=0.5, schedule="warmup_stable_decay")
    assert sizes == [2] * 3
    assert record["runs"][1]["changed"] == {
        "steps": [6, 9],
        "batch_size": [4, 2],
        "learning_rate": [0.001, 0.5],
        "schedule": ["cosine", "warmup_stable_decay"],
    }
    _, again, sizes = run(tmp_path, steps=9, batch_size=2, learning_rate=0.5, schedule="warmup_stable_decay")
    assert sizes == []
    assert again["runs"] == record["runs"]


def test_a_setting_that_may_not_change_is_named(tmp_path):
    run(tmp_path)
    with pytest.raises(ValueError) as caught:
        run(tmp_path, steps=9, ema=0.5)
    assert str(caught.value) == (
        f"{tmp_path / 'checkpoint.pt'} was made with ema 0.9, not 0.5, and only steps, batch_size, learning_rate, "
        "schedule, decay, checkpoint_every, check_every, patience, samples_every may change; "
        "give another --out, or delete it to start anew"
    )
    with pytest.raises(ValueError) as caught:
        run(tmp_path, steps=5)
    assert str(caught.value) == f"{tmp_path / 'checkpoint.pt'} is at step 6 already; ask for more than 5 steps"


def test_a_cosine_falls_from_the_end_of_the_warm_up():
    settings = Training(steps=10, warmup=2)
    rates = [relative_rate(step, settings) for step in range(10)]
    assert rates[:3] == [0.5, 1, 1]
    assert rates[6] == pytest.approx(0.5)
    assert rates[9] == pytest.approx(0.038, abs=1e-3)


def test_a_stable_rate_does_not_depend_on_the_steps_until_it_decays():
    def rates(steps):
        settings = Training(steps=steps, warmup=2, schedule="warmup_stable_decay", decay=0.25)
        return [relative_rate(step, settings) for step in range(steps)]

    assert rates(20)[:16] == rates(40)[:16] == [0.5] + [1] * 15
    assert rates(20)[15:] == pytest.approx([1, 0.8, 0.6, 0.4, 0.2])
    assert rates(40)[30:] == pytest.approx([1 - step / 10 for step in range(10)])
