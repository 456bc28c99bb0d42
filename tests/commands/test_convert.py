"""`freemcg convert`: from a file of weights to a denoiser that other verbs read."""

from __future__ import annotations

import json
import pickle
import resource
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import diffusers
import huggingface_hub
import pytest
import tiny
import torch
from diffusers.pipelines import pipeline_utils
from diffusers.pipelines.pipeline_loading_utils import LOADABLE_CLASSES
from guided_unet import Shape, random_unet
from safetensors.torch import save_file

import freemcg.diffusion
from freemcg import Denoiser
from freemcg.commands.app import main
from freemcg.messages.errors import InvalidValue
from freemcg.training.start import load_start

GREY = Shape(image_channels=1, multipliers=(1, 1), attention=(1,))
OPTIONS = ["--num-head-channels", "16", "--image-size", "8"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def convert(file="weights.pt", out="model", options=OPTIONS):
    return main(["convert", "guided-diffusion", file, out, *options])


def saved(shape=GREY, file="weights.pt", dtype=torch.float32):
    """Write a network's weights, and return the network with the weights as written."""
    network = random_unet(shape).to(dtype)
    (save_file if file.endswith(".safetensors") else torch.save)(network.state_dict(), file)
    return network.float()


def refusal(capsys, status):
    assert status == 2
    printed = capsys.readouterr().err.splitlines()
    assert len(printed) == 1
    return printed[0].removeprefix("freemcg: ")


@pytest.mark.parametrize("file", ["weights.pt", "weights.safetensors"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_denoiser_is_that_of_the_checkpoint(place, rng, capsys, file, dtype):
    network = saved(GREY, file, dtype)
    assert convert(file) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "read off the weights: 0.4 million weights, grey, levels of 32, 32 channels, learned variance"
    assert said[1].startswith(
        "not told by them: 8x8 pixels, heads of 16 channels, old attention order, linear schedule"
    )
    assert said[2] == "the diffusion model is in model"

    denoiser = Denoiser.from_pretrained("model")
    assert (denoiser.channels, denoiser.image_size, denoiser.timesteps) == (1, (8, 8), 1000)
    assert denoiser.dtype == torch.float32
    abar = torch.linspace(1e-4, 0.02, 1000, dtype=torch.double).neg().add(1).cumprod(0)[300].item()
    x_t = 0.2 * torch.randn(2, 1, 8, 8, generator=rng)
    with torch.no_grad():
        noise = network(x_t, torch.tensor([300, 300]))[:, :1]
    expected = (x_t - (1 - abar) ** 0.5 * noise) / abar**0.5 / 2 + 0.5
    assert ((expected > 0) & (expected < 1)).float().mean() > 0.3
    torch.testing.assert_close(denoiser.denoise(x_t, 300), expected.clamp(0, 1), rtol=1e-4, atol=1e-5)


def test_a_converted_model_explains_a_picture(place):
    tiny.make_place(place, ("a.png",))
    saved()
    assert convert() == 0
    arguments = ["--model", "mine.py:brighter_right", "--denoiser", "model", "--config", "tiny.yaml", "--out", "out"]
    assert main(["attribute", "pics", *arguments]) == 0
    assert "complete" in (place / "out" / "summary.csv").read_text()


FOUR_HEADS = Shape(multipliers=(1, 2), attention=(0, 1), heads=4)


@pytest.mark.parametrize("shape", [Shape(classes=3, new_order=True), Shape(heads=1, resblock_updown=False), FOUR_HEADS])
def test_classes_and_a_number_of_heads_come_back_from_the_folder(place, rng, shape):
    network = saved(shape)
    heads = ["--num-head-channels", "16"] if shape.heads is None else ["--num-heads", str(shape.heads)]
    assert convert(options=[*heads, *["--new-attention-order"] * shape.new_order]) == 0
    unet = diffusers.DDPMPipeline.from_pretrained("model").unet
    x_t, t = torch.randn(1, 3, 8, 8, generator=rng), torch.tensor([300])
    classes = None if shape.classes is None else torch.tensor([2])
    with torch.no_grad():
        expected, found = network(x_t, t, classes), unet(x_t, t, class_labels=classes).sample
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    denoiser = Denoiser.from_pretrained("model", condition=None if classes is None else 2)
    abar = 1 / (1 + denoiser.sigma(300) ** 2)
    clean = (x_t - (1 - abar) ** 0.5 * expected[:, :3]) / abar**0.5 / 2 + 0.5
    torch.testing.assert_close(denoiser.denoise(x_t, 300), clean.clamp(0, 1), rtol=1e-4, atol=1e-5)


def test_a_network_with_heads_of_several_widths_is_never_loaded_with_others(place, capsys):
    """`diffusers` alone refuses it. The command says what it needs, and `model_index.json` names the class."""
    saved(FOUR_HEADS)
    assert convert(options=["--num-heads", "4"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert "4 heads on every level" in said[1]
    assert said[2] == (
        "its heads differ in width from level to level, so a program that loads it with diffusers must first import "
        "freemcg.diffusion.level_heads"
    )
    index = json.loads((place / "model" / "model_index.json").read_text())
    assert index["unet"] == ["freemcg.diffusion.level_heads", "LevelHeadsUNet"]
    with pytest.raises(TypeError, match="list"):
        diffusers.UNet2DModel.from_pretrained("model/unet")
    with pytest.raises(
        InvalidValue, match=r"^the network of model is a LevelHeadsUNet; a UNet2DModel is trained here$"
    ):
        load_start(Path("model"))


def test_such_a_network_is_fetched_from_the_hub(place, monkeypatch):
    """The hub is a folder here. What to fetch from it, and whether, `diffusers` decides by its own rules."""
    saved(FOUR_HEADS)
    assert convert(options=["--num-heads", "4"]) == 0
    model = place / "model"
    listed = [SimpleNamespace(rfilename=str(path.relative_to(model))) for path in model.rglob("*") if path.is_file()]
    for module in (huggingface_hub, pipeline_utils):
        monkeypatch.setattr(module, "hf_hub_download", lambda name, file, **_: str(model / file))
    monkeypatch.setattr(pipeline_utils, "_resolve_revision", lambda *_, **__: "main")
    monkeypatch.setattr(pipeline_utils, "model_info", lambda *_, **__: SimpleNamespace(siblings=listed))
    for known in (sys.modules, LOADABLE_CLASSES):  # as in a process that has not loaded such a network yet
        monkeypatch.delitem(known, "freemcg.diffusion.level_heads", raising=False)
    monkeypatch.delattr(freemcg.diffusion, "level_heads")
    fetched, read = Denoiser.from_pretrained("someone/faces"), Denoiser.from_pretrained("model")
    assert (type(fetched.unet).__name__, fetched.identity) == ("LevelHeadsUNet", read.identity)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_of_another_kind_is_left_alone_and_an_earlier_conversion_is_replaced(place, capsys):
    saved()
    (place / "pics").mkdir()
    (place / "pics" / "a.png").write_bytes(b"mine")
    assert refusal(capsys, convert(out="pics")) == "pics holds a.png, which no conversion wrote; name a new folder"
    assert contents(place / "pics") == {"a.png": b"mine"}
    assert refusal(capsys, convert(out="weights.pt")) == "weights.pt is a file; a diffusion model needs a folder"

    (place / "model").mkdir()
    assert convert() == 0
    first = contents(place / "model")
    assert convert() == 0
    assert contents(place / "model") == first
    capsys.readouterr()
    (place / "model" / "notes.txt").touch()
    assert refusal(capsys, convert()) == "model holds notes.txt, which no conversion wrote; name a new folder"
    (place / "model" / "notes.txt").unlink()
    assert convert(options=[*OPTIONS, "--noise-schedule", "cosine"]) == 0
    changed = contents(place / "model")
    assert changed.keys() == first.keys()
    record = json.loads(changed["converted.json"])
    assert record["checkpoint"] == "weights.pt"
    assert record["flags"]["noise_schedule"] == "cosine"
    assert sorted(path.name for path in place.iterdir()) == ["model", "pics", "weights.pt"]


def test_on_a_full_disk_nothing_is_written_and_the_earlier_model_stays(place, capsys):
    saved()
    assert convert() == 0
    before = contents(place / "model")
    capsys.readouterr()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        status = convert(options=[*OPTIONS, "--noise-schedule", "cosine"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    said = refusal(capsys, status)
    assert said.startswith("model: cannot be written (")
    assert said.endswith("); free space on its disk, or allow writing to its folder")
    assert contents(place / "model") == before
    assert sorted(path.name for path in place.iterdir()) == ["model", "weights.pt"]


ALONE = "save the state dict of the network alone: torch.save(network.state_dict(), ...)"


class Loud:
    """What a file of pickled code may do."""

    def __reduce__(self):
        return print, ("the file ran its own code",)


def test_a_file_that_is_no_state_dict_of_finite_floats_is_refused(place, capsys):
    for value, message in {
        "list": ([1, 2], f"bad.pt holds a list; {ALONE}"),
        "wrapped": ({"state_dict": {}, "step": 3}, f"bad.pt holds a dict as 'state_dict'; {ALONE}"),
        "whole": (
            {"a": torch.ones(2, dtype=torch.int64)},
            f"the tensor a in bad.pt holds torch.int64, not floats; {ALONE}",
        ),
        "nan": (
            {"a": torch.tensor([1, float("nan")])},
            "the tensor a in bad.pt holds NaN or infinity; save the checkpoint again",
        ),
        "code": (Loud(), f"bad.pt is damaged, or holds more than tensors; {ALONE}"),
    }.values():
        torch.save(value, "bad.pt")
        assert refusal(capsys, convert("bad.pt")) == message
    (place / "bad.pt").write_bytes(pickle.dumps(Loud()))
    assert refusal(capsys, convert("bad.pt")) == f"bad.pt is damaged, or holds more than tensors; {ALONE}"
    saved()
    (place / "bad.pt").write_bytes((place / "weights.pt").read_bytes()[:-1000])
    assert refusal(capsys, convert("bad.pt")) == f"bad.pt is damaged, or holds more than tensors; {ALONE}"
    (place / "bad.safetensors").write_bytes(b"no")
    assert refusal(capsys, convert("bad.safetensors")).startswith("bad.safetensors is not a saved checkpoint (")
    for missing in ("nowhere.pt", "nowhere.safetensors"):
        assert refusal(capsys, convert(missing)) == f"there is no checkpoint {missing}"
    assert not (place / "model").exists()


def test_a_refused_network_leaves_no_folder(place, capsys):
    network = random_unet(GREY)
    torch.save({name: weight for name, weight in network.state_dict().items() if name != "out.0.bias"}, "weights.pt")
    assert refusal(capsys, convert()) == (
        "weights.pt is not a UNet of guided-diffusion (missing: out.0.bias); take the state dict of an image model of "
        "that program, unchanged"
    )
    assert [path.name for path in place.iterdir()] == ["weights.pt"]
