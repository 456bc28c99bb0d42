"""Training that starts from another denoiser's weights."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, EDMEulerScheduler, UNet2DModel
from test_training import TINY_UNET

from freemcg import Denoiser
from freemcg.commands.app import main
from freemcg.files.images import write_image
from freemcg.settings import make
from freemcg.training import DenoiserTraining, train_denoiser

QUICK = {"steps": 1, "batch_size": 2, "warmup": 0, "learning_rate": 1e-12, "ema": None}


@pytest.fixture
def pictures(tmp_path, rng):
    (tmp_path / "pictures").mkdir()
    for index in range(4):
        write_image(torch.rand(3, 8, 8, generator=rng), tmp_path / "pictures" / f"{index}.png")
    return tmp_path / "pictures"


@pytest.fixture
def start(tmp_path):
    torch.manual_seed(5)
    unet = UNet2DModel(sample_size=8, in_channels=3, out_channels=3, **TINY_UNET)
    DDIMPipeline(unet, DDIMScheduler(prediction_type="v_prediction", beta_end=0.03)).save_pretrained(tmp_path / "start")
    return tmp_path / "start"


def settings(pictures, start, **more):
    return make(DenoiserTraining, {**QUICK, "data": str(pictures), "start_from": str(start), **more})


def test_training_takes_weights_network_size_and_schedule_from_the_start(pictures, start, tmp_path):
    record = train_denoiser(settings(pictures, start), tmp_path / "out")
    begun, ended = Denoiser.from_pretrained(start), Denoiser.from_pretrained(tmp_path / "out")
    assert record["start"] == begun.identity
    assert json.loads((tmp_path / "out" / "training.json").read_text())["start"] == begun.identity
    assert (record["settings"]["channels"], record["settings"]["image_size"]) == (3, 8)
    assert record["settings"]["network"]["block_out_channels"] == [8, 8]
    assert (ended.prediction.kind, ended.image_size) == ("v_prediction", (8, 8))
    torch.testing.assert_close(ended.alphas_cumprod, begun.alphas_cumprod, rtol=0, atol=0)
    for name, value in begun.unet.state_dict().items():
        torch.testing.assert_close(ended.unet.state_dict()[name], value, rtol=0, atol=1e-9)


def test_a_start_may_have_all_its_files_in_one_folder(pictures, start, tmp_path):
    """The oldest repositories have this layout."""
    for part in ("unet", "scheduler"):
        for file in (start / part).iterdir():
            file.rename(start / file.name)
        (start / part).rmdir()
    train_denoiser(settings(pictures, start), tmp_path / "out")
    begun, ended = Denoiser.from_pretrained(start), Denoiser.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(ended.alphas_cumprod, begun.alphas_cumprod, rtol=0, atol=0)


def test_a_start_may_be_of_another_size_and_keeps_its_own_files(pictures, start, tmp_path):
    before = Denoiser.from_pretrained(start).identity
    said = {"image_size": 16, "channels": 3, "network": TINY_UNET, "learning_rate": 0.1}
    train_denoiser(settings(pictures, start, **said), tmp_path / "out")
    assert Denoiser.from_pretrained(tmp_path / "out").image_size == (16, 16)
    assert Denoiser.from_pretrained(start).identity == before


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"channels": 1}, "channels is 1, but 3 in {start}"),
        ({"network": {"block_out_channels": [8, 16]}}, "network.block_out_channels is [8, 16], but [8, 8] in {start}"),
        ({"network": {"depth": 2}}, "network.depth is 2, but 'not there' in {start}"),
        (
            {"scheduler": {"prediction_type": "epsilon"}},
            "scheduler.prediction_type is 'epsilon', but 'v_prediction' in {start}",
        ),
    ],
)
def test_a_config_that_says_another_network_is_refused(pictures, start, tmp_path, said, sentence):
    with pytest.raises(ValueError) as caught:
        train_denoiser(settings(pictures, start, **said), tmp_path / "out")
    advice = ", where training starts; leave it out of the config"
    assert str(caught.value) == sentence.format(start=start) + advice
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_started_from_is_one_sentence(pictures, start, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^there is no folder nowhere to start from$"):
        train_denoiser(settings(pictures, "nowhere"), tmp_path / "out")
    with pytest.raises(ValueError) as caught:
        train_denoiser(settings(pictures, start), start)
    assert str(caught.value) == f"{start} cannot be both start_from and --out; give another --out"
    learnt = UNet2DModel(sample_size=8, in_channels=3, out_channels=6, **TINY_UNET)
    DDPMPipeline(learnt, DDIMScheduler()).save_pretrained(tmp_path / "learnt")
    with pytest.raises(ValueError) as caught:
        train_denoiser(settings(pictures, tmp_path / "learnt"), tmp_path / "out")
    assert str(caught.value).endswith("learnt learnt variances too; start from one that did not")
    classes = UNet2DModel(sample_size=8, in_channels=3, out_channels=3, num_class_embeds=4, **TINY_UNET)
    DDPMPipeline(classes, DDIMScheduler()).save_pretrained(tmp_path / "classes")
    with pytest.raises(ValueError) as caught:
        train_denoiser(settings(pictures, tmp_path / "classes"), tmp_path / "out")
    assert str(caught.value).endswith("classes learnt classes; start from one that did not")
    sigmas = UNet2DModel(sample_size=8, in_channels=3, out_channels=3, **TINY_UNET)
    DDPMPipeline(sigmas, EDMEulerScheduler()).save_pretrained(tmp_path / "edm")
    with pytest.raises(ValueError) as caught:
        train_denoiser(settings(pictures, tmp_path / "edm"), tmp_path / "out")
    assert str(caught.value) == (
        f"the scheduler of {tmp_path / 'edm'} is a EDMEulerScheduler; start from a denoiser with a schedule in "
        "discrete time, such as DDPMScheduler"
    )


def test_a_run_does_not_go_on_where_the_start_has_become_another(pictures, start, tmp_path):
    train_denoiser(settings(pictures, start), tmp_path / "out")
    shutil.rmtree(start)
    torch.manual_seed(6)
    unet = UNet2DModel(sample_size=8, in_channels=3, out_channels=3, **TINY_UNET)
    scheduler = DDIMScheduler(prediction_type="v_prediction", beta_end=0.03)
    DDIMPipeline(unet, scheduler).save_pretrained(start)
    with pytest.raises(ValueError, match=r"checkpoint\.pt began with the weights UNet2DModel:\w+:v_prediction"):
        train_denoiser(settings(pictures, start), tmp_path / "out")


def test_the_start_can_be_named_on_the_command_line(pictures, start, tmp_path):
    (tmp_path / "mine.yaml").write_text(json.dumps(QUICK))
    options = ["--config", str(tmp_path / "mine.yaml"), "--data", str(pictures), "--start-from", str(start)]
    assert main(["train", "denoiser", *options, "--out", str(tmp_path / "out")]) == 0
    record = json.loads((tmp_path / "out" / "training.json").read_text())
    assert record["settings"]["start_from"] == str(start)
    assert record["start"] == Denoiser.from_pretrained(start).identity
