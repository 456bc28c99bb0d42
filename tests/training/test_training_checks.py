"""Checks during training: the held-out loss, the weights that are kept, and an early stop."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from accelerate import Accelerator
from ports import free_port
from test_training import TINY_UNET
from torch import nn

from freemcg import Denoiser
from freemcg.commands.app import main
from freemcg.files.images import write_image
from freemcg.settings import make
from freemcg.training import DenoiserTraining, train_denoiser
from freemcg.training.data import ImageSet
from freemcg.training.held_out import LEVELS, HeldOut
from freemcg.training.loop import Checks, train
from freemcg.training.settings import Training


class Counting(nn.Module):
    """A network whose one weight is the number of its training steps, whatever the batch."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


def run(out, means, patience=None, stop_at=None, **more):
    """Train with a check at each step. `means` holds the mean losses that the checks find, in order."""
    images = ImageSet(torch.zeros(2, 1, 4, 4, dtype=torch.uint8))
    settings = make(Training, {"steps": 6, "batch_size": 1, "warmup": 0, "checkpoint_every": 1, **more})
    network, found, improved = Counting(), iter(means), []

    def loss(model, batch, labels, generator):
        if stop_at is not None and model.weight.item() >= stop_at:
            raise KeyboardInterrupt
        with torch.no_grad():
            model.weight += 1
        return 0 * model.weight.sum()

    def measure(network):
        assert not network.training
        mean = next(found)
        return {"0.1": mean - 1, "0.5": mean + 1}

    checks = Checks(1, patience, measure, lambda network, record: improved.append(network.weight.item()))
    trained, record = train(network, loss, images, settings, out, Accelerator(), checks=checks)
    return trained.weight.item(), record, improved


def test_the_weights_with_the_lowest_mean_loss_are_kept(tmp_path):
    weight, record, improved = run(tmp_path, [5, 3, 4, 2, 2, 9])
    assert weight == record["kept_step"] == 4
    assert improved == [1, 2, 4]
    assert record["checks"][1] == {"step": 2, "mean": 3, "losses": {"0.1": 2, "0.5": 4}}
    assert [check["step"] for check in record["checks"]] == [1, 2, 3, 4, 5, 6]


def test_training_stops_where_checks_have_not_improved_and_a_longer_run_counts_anew(tmp_path):
    weight, record, _ = run(tmp_path, [5, 3, 4, 3], patience=2)
    assert (weight, record["runs"][0]["to_step"]) == (2, 4)
    weight, record, _ = run(tmp_path, [], patience=2)  # the same command finds nothing to do
    assert (weight, len(record["runs"])) == (2, 1)
    weight, record, _ = run(tmp_path, [9, 1, 2, 2], patience=2, steps=9)
    assert (weight, record["kept_step"]) == (6, 6)
    assert [(each["from_step"], each["to_step"]) for each in record["runs"]] == [(0, 4), (4, 8)]


def test_a_run_that_was_stopped_remembers_its_checks_and_its_best_weights(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, [5, 3, 4], patience=2, stop_at=3)
    weight, record, improved = run(tmp_path, [4], patience=2)
    assert (weight, improved) == (2, [])
    assert [check["mean"] for check in record["checks"]] == [5, 3, 4, 4]


def test_the_held_out_loss_is_the_same_for_any_batch_size_and_at_every_check(rng):
    images = ImageSet((torch.rand(5, 1, 4, 4, generator=rng) * 255).to(torch.uint8))
    seen = []

    def loss(network, batch, noise, t):
        seen.append(noise)
        return (network.weight * batch + noise * t.reshape(-1, 1, 1, 1)).square().mean()

    network, timesteps = Counting(), {0.1: 1, 0.5: 3}
    found = HeldOut(images, loss, timesteps, 0, batch_size=2)(network)
    noise = torch.cat(seen)
    assert noise.shape == (10, 1, 4, 4)
    assert not torch.equal(noise[:5], noise[5:])
    assert found["0.1"] == pytest.approx(noise[:5].square().mean().item())
    assert found["0.5"] == pytest.approx(9 * noise[5:].square().mean().item())
    assert HeldOut(images, loss, timesteps, 0, batch_size=5)(network) == pytest.approx(found)
    assert HeldOut(images, loss, timesteps, 1)(network) != pytest.approx(found)


@pytest.fixture
def pictures(tmp_path, rng):
    (tmp_path / "pictures").mkdir()
    for index in range(20):
        write_image(0.5 + 0.1 * torch.randn(1, 8, 8, generator=rng), tmp_path / "pictures" / f"{index}.png")
    return tmp_path / "pictures"


QUICK = {
    "image_size": 8,
    "steps": 6,
    "batch_size": 4,
    "warmup": 0,
    "ema": None,
    "holdout": 0.25,
    "check_every": 4,
    "samples_every": 3,
    "network": TINY_UNET,
}


def test_a_denoiser_is_checked_at_each_noise_level_and_samples_are_drawn(pictures, tmp_path, capsys):
    (tmp_path / "mine.yaml").write_text(json.dumps(QUICK))
    options = ["--config", str(tmp_path / "mine.yaml"), "--data", str(pictures), "--out", str(tmp_path / "out")]
    assert main(["train", "denoiser", *options]) == 0
    record = json.loads((tmp_path / "out" / "training.json").read_text())
    assert record["images"] == 15
    assert [check["step"] for check in record["checks"]] == [4, 6]
    assert list(record["checks"][0]["losses"]) == [str(level) for level in LEVELS]
    assert record["checks"][0]["mean"] > record["checks"][1]["mean"]
    assert f"held-out loss {record['checks'][1]['mean']:.4f} at step 6" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "checkpoint.pt",
        "model_index.json",
        "samples-3.png",
        "samples-6.png",
        "samples.png",
        "scheduler",
        "training.json",
        "unet",
    ]
    Denoiser.from_pretrained(tmp_path / "out")


def test_the_best_weights_so_far_lie_in_out_and_replace_earlier_ones_whole(pictures, tmp_path):
    short = {key: value for key, value in QUICK.items() if key != "samples_every"}
    train_denoiser(make(DenoiserTraining, {**short, "data": str(pictures)}), tmp_path / "out")
    weights = tmp_path / "out" / "unet" / "diffusion_pytorch_model.safetensors"
    os.link(weights, tmp_path / "held open")  # a reader that maps the file holds it in the same way
    before = weights.read_bytes()
    train_denoiser(make(DenoiserTraining, {**short, "data": str(pictures), "steps": 12}), tmp_path / "out")
    assert (tmp_path / "held open").read_bytes() == before
    assert weights.read_bytes() != before


def test_the_start_itself_is_kept_where_training_makes_it_worse(pictures, tmp_path):
    train_denoiser(make(DenoiserTraining, {**QUICK, "data": str(pictures), "steps": 40}), tmp_path / "start")
    begun = {"data": str(pictures), "start_from": str(tmp_path / "start"), "learning_rate": 1.0, "network": {}}
    record = train_denoiser(make(DenoiserTraining, {**QUICK, **begun}), tmp_path / "out")
    assert record["kept_step"] == 0
    assert Denoiser.from_pretrained(tmp_path / "out").identity == record["start"]


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"check_every": 5}, "check_every needs images that training does not see; set holdout, such as 0.05"),
        ({"patience": 5}, "patience counts checks; set check_every too"),
        ({"check_every": 0, "holdout": 0.5}, "check_every must be >= 1, got 0"),
    ],
)
def test_checks_that_cannot_be_made_are_refused(said, sentence):
    with pytest.raises(ValueError) as caught:
        make(DenoiserTraining, said)
    assert str(caught.value) == sentence


def test_a_share_that_holds_no_image_out_is_refused(pictures, tmp_path):
    settings = make(DenoiserTraining, {**QUICK, "data": str(pictures), "holdout": 0.01})
    with pytest.raises(ValueError) as caught:
        train_denoiser(settings, tmp_path / "out")
    assert str(caught.value) == "holdout 0.01 keeps none of 20 images; raise it"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (
            {"network": {"layer_per_block": 1}},
            "diffusers.UNet2DModel cannot be made of 'network': UNet2DModel.__init__() got an unexpected keyword "
            "argument 'layer_per_block'",
        ),
        ({"network": {**TINY_UNET, "norm_num_groups": 3}}, "diffusers.UNet2DModel cannot be made of 'network': "),
        ({"scheduler": {"beta_schedule": "round"}}, "diffusers.DDPMScheduler cannot be made of 'scheduler': round "),
        ({"scheduler": {"prediction_type": "x"}}, "prediction_type is 'x'; known are epsilon, sample, v_prediction"),
        (
            {"image_size": 9},
            "the network does not take images of 9x9; set image_size to a multiple of 2, or mend 'network' (Sizes of",
        ),
    ],
)
def test_a_network_that_cannot_be_trained_is_refused_before_the_images_are_read(tmp_path, said, sentence):
    settings = make(DenoiserTraining, {**QUICK, **said, "data": "nowhere"})
    with pytest.raises(ValueError) as caught:
        train_denoiser(settings, tmp_path / "out")
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


def test_two_processes_train_one_denoiser(pictures, tmp_path):
    (tmp_path / "mine.yaml").write_text(json.dumps({**QUICK, "steps": 4, "data": str(pictures)}))
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launcher += ["--main_process_port", free_port(), "-m", "freemcg", "train", "denoiser"]
    done = subprocess.run(
        [*launcher, "--config", "mine.yaml", "--out", "out"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("the model and its training.json are in out") == 1
    record = json.loads((tmp_path / "out" / "training.json").read_text())
    assert (record["processes"], record["kept_step"]) == (2, 4)
    Denoiser.from_pretrained(tmp_path / "out")
