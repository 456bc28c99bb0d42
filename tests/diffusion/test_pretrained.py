"""Folders and repositories from which a denoiser is read. diffusers writes them, and the tests change them."""

from __future__ import annotations

import functools
import json
import logging
import re
from contextlib import suppress
from pathlib import Path

import diffusers
import huggingface_hub
import pytest
import torch
from latents import CLASSES, LATENT, save_latent_pipeline
from safetensors.torch import load_file, save_file
from unets import tiny_unet

from freemcg import Denoiser
from freemcg.messages.errors import InvalidValue

USABLE = (
    "take a DDPMPipeline, ScoreSdeVePipeline, ConsistencyModelPipeline, LDMPipeline, StableDiffusionPipeline or "
    "DiTPipeline"
)
NAMES = (("vqvae", "vae"), ("unet", "transformer"))
PLAIN = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    scheduler = diffusers.DDPMScheduler(num_train_timesteps=100, prediction_type="v_prediction")
    diffusers.DDPMPipeline(tiny_unet(), scheduler).save_pretrained(tmp_path / "ddpm")
    return tmp_path / "ddpm"


def test_a_saved_pipeline_comes_back(folder, rng):
    denoiser = Denoiser.from_pretrained(folder, batch_size=2)
    assert (denoiser.channels, denoiser.image_size, denoiser.timesteps) == (1, (8, 8), 100)
    assert (denoiser.prediction.kind, denoiser.name) == ("v_prediction", str(folder))
    assert not denoiser.unet.training
    assert not any(parameter.requires_grad for parameter in denoiser.unet.parameters())

    unet = diffusers.UNet2DModel.from_pretrained(folder / "unet")
    scheduler = diffusers.DDIMScheduler.from_pretrained(folder / "scheduler", clip_sample=True)
    scheduler.set_timesteps(100)
    x_t = torch.randn(3, 1, 8, 8, generator=rng)
    with torch.no_grad():
        expected = scheduler.step(unet(x_t, 40).sample, 40, x_t).pred_original_sample
    torch.testing.assert_close(denoiser.denoise(x_t, 40), expected / 2 + 0.5, rtol=1e-5, atol=1e-5)


def test_a_folder_may_be_loaded_as_another_kind_of_float(folder):
    denoiser = Denoiser.from_pretrained(folder, dtype=torch.bfloat16, device="cpu")
    assert denoiser.dtype == torch.bfloat16
    assert denoiser.denoise(torch.zeros(1, 1, 8, 8), 40).dtype == torch.float32


@pytest.mark.parametrize("kind", LATENT)
@pytest.mark.parametrize("config", [{}, {"scaling_factor": 0.7}])
def test_a_latent_pipeline_comes_back(kind, config, tmp_path, rng):
    """The steps are those of the pipeline: its scheduler's clean latent, divided by the scale, and decoded."""
    pipeline = save_latent_pipeline(kind, tmp_path, **config)
    denoiser = Denoiser.from_pretrained(tmp_path, batch_size=2)
    assert (denoiser.channels, denoiser.image_size) == (1, (8, 8))
    assert not denoiser.space.autoencoder.training
    assert not any(parameter.requires_grad for parameter in denoiser.space.autoencoder.parameters())
    parts = pipeline.components
    autoencoder, network = (next(parts[each] for each in names if each in parts) for names in NAMES)
    scheduler, times = diffusers.DDIMScheduler(clip_sample=False), torch.full((3,), 400)
    scheduler.set_timesteps(1000)
    x_t = torch.randn(3, 2, 4, 4, generator=rng)
    told = {}
    if kind == "Stable Diffusion":
        told = {"encoder_hidden_states": pipeline.encode_prompt("", "cpu", 3, False)[0]}
    if kind == "DiT":
        told = {"class_labels": torch.full((3,), CLASSES)}
    with torch.no_grad():
        noise = network(x_t, timestep=times, **told).sample[:, :2]
        clean = scheduler.step(noise, 400, x_t).pred_original_sample
        expected = autoencoder.decode(clean / config.get("scaling_factor", 0.18215)).sample / 2 + 0.5
        images = torch.rand(3, 1, 8, 8, generator=rng)
        encoded = autoencoder.encode(2 * images - 1)
    mean = encoded.latents if "VQModel" in kind else encoded.latent_dist.mean
    torch.testing.assert_close(denoiser.denoise(x_t, 400), clean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(denoiser.decode(clean), expected.clamp(0, 1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(denoiser.encode(images), mean * config.get("scaling_factor", 0.18215))


def test_an_autoencoder_computes_in_float32_whatever_the_network_does(tmp_path, rng):
    save_latent_pipeline("LDM with an AutoencoderKL", tmp_path)
    full, half = (Denoiser.from_pretrained(tmp_path, dtype=each) for each in (None, torch.bfloat16))
    assert half.dtype == torch.bfloat16
    points, images = torch.randn(2, 2, 4, 4, generator=rng), torch.rand(2, 1, 8, 8, generator=rng)
    assert torch.equal(half.decode(points), full.decode(points))
    assert torch.equal(half.encode(images), full.encode(images))


def test_weights_under_the_names_of_older_versions_are_read(tmp_path):
    """In older files, the layers of an attention have other names, and a DiT has the class of all transformers."""
    save_latent_pipeline("DiT", tmp_path)
    denoiser = Denoiser.from_pretrained(tmp_path)
    stored = tmp_path / "vae" / PLAIN
    older = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    weights = {name: weight.clone() for name, weight in load_file(stored).items()}
    renamed = {
        functools.reduce(lambda name, each: name.replace(*each), older.items(), name): weight
        for name, weight in weights.items()
    }
    assert len(renamed.keys() - weights.keys()) == 16
    stored.unlink()
    save_file(renamed, stored, {"format": "pt"})
    change(tmp_path / "model_index.json", transformer=["diffusers", "Transformer2DModel"])
    change(tmp_path / "transformer" / "config.json", _class_name="Transformer2DModel", cross_attention_dim=None)
    assert Denoiser.from_pretrained(tmp_path).identity == denoiser.identity


def test_an_autoencoder_of_another_class_is_refused(tmp_path):
    save_latent_pipeline(LATENT[0], tmp_path)
    change(tmp_path / "model_index.json", vqvae=["diffusers", "AutoencoderTiny"])
    refused(
        tmp_path,
        f"the autoencoder of {str(tmp_path)!r} is a AutoencoderTiny; take a pipeline with an AutoencoderKL or VQModel",
    )


def test_a_pipeline_with_a_part_too_many_is_refused(folder):
    change(folder / "model_index.json", vae=["diffusers", "AutoencoderKL"])
    refused(folder, f"the pipeline {str(folder)!r} is a DDPMPipeline with a vae; {USABLE}")


def test_a_folder_that_is_no_pipeline_is_refused(tmp_path):
    message = f"{tmp_path} holds no model_index.json; a denoiser is a folder made by save_pretrained"
    with pytest.raises(FileNotFoundError, match=f"^{re.escape(message)}$"):
        Denoiser.from_pretrained(tmp_path)


def test_a_pipeline_without_unet_is_refused(tmp_path):
    index = tmp_path / "model_index.json"
    index.write_text(json.dumps({"_class_name": "DDPMPipeline", "scheduler": ["diffusers", "DDPMScheduler"]}))
    message = f"{index} names no unet; {USABLE}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Denoiser.from_pretrained(tmp_path)


def test_a_folder_without_weights_is_refused(folder):
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    message = f"{folder / 'unet'} holds no weights (diffusion_pytorch_model.safetensors)"
    with pytest.raises(FileNotFoundError, match=f"^{re.escape(message)}$"):
        Denoiser.from_pretrained(folder)


def test_weights_cut_short_are_refused(folder):
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match=f"^the denoiser {re.escape(repr(str(folder)))} .*: Unable to load weights"):
        Denoiser.from_pretrained(folder)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    path = str(tmp_path / "nothing" / "here")
    with pytest.raises(
        ValueError, match=f"^the denoiser {re.escape(repr(path))} is neither a folder made by"
    ) as caught:
        Denoiser.from_pretrained(path)
    assert "\n" not in str(caught.value)


def refused(folder, message, kind=InvalidValue):
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        Denoiser.from_pretrained(folder)


def change(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def rewrite(folder, made):
    """Replace the weights by `made(weights)`. The file is a new one, since the old one may be mapped into memory."""
    path = folder / "unet" / PLAIN
    weights = {name: weight.clone() for name, weight in load_file(path).items()}
    path.unlink()
    save_file(made(weights), path)


# --- variants and layouts ---


@pytest.mark.parametrize("options", [{}, {"max_shard_size": "4KB"}, {"safe_serialization": False}])
@pytest.mark.parametrize("variant", [None, "fp16", "non_ema"])
def test_a_folder_that_holds_one_variant_is_read(variant, options, tmp_path, caplog):
    network = tiny_unet().half() if variant == "fp16" else tiny_unet()
    diffusers.DDPMPipeline(network, diffusers.DDPMScheduler()).save_pretrained(tmp_path, variant=variant, **options)
    assert (tmp_path / "unet" / PLAIN).exists() == (variant is None and options == {})
    denoiser = Denoiser.from_pretrained(tmp_path)
    assert denoiser.dtype == torch.float32
    for name, weight in denoiser.unet.state_dict().items():
        assert torch.equal(weight, network.state_dict()[name].float())
    assert caplog.messages == []


class Planted:
    """An object whose pickle makes a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_code_in_a_file_of_weights_is_not_run(tmp_path):
    diffusers.DDPMPipeline(tiny_unet(), diffusers.DDPMScheduler()).save_pretrained(tmp_path, safe_serialization=False)
    torch.save({"conv_in.bias": Planted(tmp_path / "run")}, tmp_path / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(InvalidValue, match=r"cannot be read from .*unet: Unable to load weights from .*\.bin'"):
        Denoiser.from_pretrained(tmp_path)
    assert not (tmp_path / "run").exists()


def test_beside_the_plain_weights_a_variant_is_left_alone(folder):
    weights = Denoiser.from_pretrained(folder).identity
    tiny_unet().half().save_pretrained(folder / "unet", variant="fp16")
    assert Denoiser.from_pretrained(folder).identity == weights


def test_several_variants_without_the_plain_weights_are_refused(folder):
    (folder / "unet" / PLAIN).unlink()
    for variant in ("fp16", "bf16"):
        tiny_unet().save_pretrained(folder / "unet", variant=variant)
    refused(
        folder,
        f"{folder / 'unet'} holds several variants of the weights (bf16, fp16); keep the files of only one",
    )


def test_parts_that_lie_beside_the_index_are_read(folder):
    """The oldest repositories have this layout, such as `google/ddpm-cifar10-32`."""
    before = Denoiser.from_pretrained(folder).identity
    for part in ("unet", "scheduler"):
        for path in (folder / part).iterdir():
            path.rename(folder / path.name)
        (folder / part).rmdir()
    assert Denoiser.from_pretrained(folder).identity == before


def test_a_repository_of_half_precision_is_fetched(folder, tmp_path, monkeypatch):
    """Without a variant, the hub would give a folder without weights."""
    network, asked = tiny_unet().half(), []
    half = tmp_path / "half"
    diffusers.DDPMPipeline(network, diffusers.DDPMScheduler()).save_pretrained(half, variant="fp16")
    (folder / "unet" / PLAIN).unlink()

    def download(name, variant=None):
        asked.append((name, variant))
        return half if variant == "fp16" else folder

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda name, file: str(folder / file))
    monkeypatch.setattr(diffusers.DiffusionPipeline, "download", download)
    denoiser = Denoiser.from_pretrained("someone/cats")
    assert torch.equal(denoiser.unet.conv_in.weight, network.conv_in.weight.float())
    assert (denoiser.name, asked) == ("someone/cats", [("someone/cats", None), ("someone/cats", "fp16")])


def test_a_repository_that_is_no_denoiser_is_refused_before_its_weights_are_fetched(folder, monkeypatch):
    change(folder / "model_index.json", vae=["diffusers", "AutoencoderKL"])
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda name, file: str(folder / file))
    monkeypatch.setattr(diffusers.DiffusionPipeline, "download", lambda *_, **__: pytest.fail("fetched"))
    refused("someone/cats", f"the pipeline 'someone/cats' is a DDPMPipeline with a vae; {USABLE}")


# --- weights that are not the network's ---


@pytest.mark.parametrize(
    ("made", "unfit"),
    [
        (
            lambda weights: {name: weights[name] for name in weights if name != "conv_in.bias"},
            "missing conv_in.bias",
        ),
        (
            lambda weights: {f"module.{name}": weight for name, weight in weights.items()},
            "missing conv_in.bias, conv_in.weight, conv_norm_out.bias and 101 more, "
            "unexpected module.conv_in.bias, module.conv_in.weight, module.conv_norm_out.bias and 101 more",
        ),
        (
            lambda weights: weights | {"class_embedding.weight": torch.ones(10, 16)},
            "unexpected class_embedding.weight",
        ),
        (
            lambda weights: weights | {"conv_in.bias": torch.ones(3)},
            "of another shape conv_in.bias (3,) for (4,)",
        ),
    ],
)
def test_weights_of_another_network_are_refused(made, unfit, folder, capfd):
    rewrite(folder, made)
    refused(
        folder,
        f"the weights in {folder / 'unet'} are not those of the network in its config.json ({unfit}); "
        "save the network again with save_pretrained, out of any wrapper",
    )
    assert "conv_in" not in "".join(capfd.readouterr())  # diffusers prints no list of all names


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_no_numbers_are_refused(value, folder):
    rewrite(folder, lambda weights: weights | {"conv_in.bias": torch.tensor([0.0, value, 0, 0])})
    refused(folder, f"the weight conv_in.bias in {folder / 'unet'} holds NaN or infinity; save the pipeline again")


def test_the_verbosity_of_diffusers_stays_as_it_was(folder):
    before = diffusers.utils.logging.get_verbosity()
    assert before != logging.ERROR
    Denoiser.from_pretrained(folder)
    (folder / "unet" / "config.json").write_text("{}")
    with suppress(InvalidValue):
        Denoiser.from_pretrained(folder)
    assert diffusers.utils.logging.get_verbosity() == before


# --- model_index.json ---


@pytest.mark.parametrize("held", [[1], "x", None, 3, []])
def test_an_index_that_is_no_object_is_refused(held, folder):
    index = folder / "model_index.json"
    index.write_text(json.dumps(held))
    refused(folder, f"{index} must hold a JSON object, got {held!r}; save the pipeline again")


@pytest.mark.parametrize(
    ("held", "reason"),
    [
        (b"", "Expecting value: line 1 column 1 (char 0)"),
        (b"\xff\xfe", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        (b"{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
    ],
)
@pytest.mark.parametrize("name", ["model_index.json", "unet/config.json", "scheduler/scheduler_config.json"])
def test_a_file_that_is_no_json_is_refused(name, held, reason, folder):
    (folder / name).write_bytes(held)
    refused(folder, f"{folder / name} is not JSON: {reason}")


@pytest.mark.parametrize("name", ["NoPipe", None, 3, ["a", "b"], "UNet2DModel", "__doc__", ""])
def test_an_unknown_pipeline_class_is_named(name, folder):
    index = folder / "model_index.json"
    change(index, _class_name=name)
    refused(
        folder,
        f"{index} names the pipeline class {name!r}, which is none of diffusers {diffusers.__version__}; "
        "if its network works on pixels and takes no text, write DDPMPipeline",
    )


def test_a_pipeline_class_of_other_parts_is_refused(folder):
    change(folder / "model_index.json", _class_name="StableUnCLIPPipeline")
    needed = (
        "prior_tokenizer, prior_text_encoder, prior, prior_scheduler, image_normalizer, image_noising_scheduler, "
        "tokenizer, text_encoder, unet, scheduler, vae"
    )
    refused(folder, f"the pipeline {str(folder)!r} is a StableUnCLIPPipeline, made of {needed}; {USABLE}")


@pytest.mark.parametrize("part", ["unet", "scheduler"])
@pytest.mark.parametrize("value", [None, [None, None]])
def test_a_part_left_out_is_refused(value, part, folder):
    index = folder / "model_index.json"
    change(index, **{part: value})
    refused(folder, f"{index} names no {part}; {USABLE}")


@pytest.mark.parametrize(("part", "kind"), [("unet", "ModelMixin"), ("scheduler", "SchedulerMixin")])
@pytest.mark.parametrize(
    "value",
    [
        [],
        ["diffusers"],
        ["diffusers", "UNet2DModel", "c"],
        "diffusers",
        {},
        7,
        [3, 4],
        ["diffusers", None],
        ["diffusers", "Nope"],
        ["diffusers", "DDPMPipeline"],
        ["os", "system"],
        ["my_own", "UNet2DModel"],
    ],
)
def test_a_part_of_no_class_of_diffusers_is_refused(value, part, kind, folder):
    index = folder / "model_index.json"
    change(index, **{part: value})
    refused(
        folder,
        f"{index} names {json.dumps(value)}, but must name a {kind} of diffusers, such as "
        '["diffusers", "UNet2DModel"] or ["diffusers", "DDPMScheduler"]; parts of your own go to '
        "Denoiser(unet, scheduler)",
    )


# --- the configurations of the parts ---


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("unet/config.json", {"norm_num_groups": 3}, "num_channels (4) must be divisible by num_groups (3)"),
        ("unet/config.json", {"in_channels": "x"}, "not all arguments converted during string formatting"),
        ("unet/config.json", {"down_block_types": ["Nope", "DownBlock2D"]}, "Nope does not exist."),
        (
            "scheduler/scheduler_config.json",
            {"beta_schedule": "steep"},
            f"steep is not implemented for {diffusers.DDPMScheduler}",
        ),
    ],
)
def test_a_configuration_that_diffusers_cannot_use_is_refused(name, values, reason, folder):
    change(folder / name, **values)
    where = (folder / name).parent
    refused(folder, f"the denoiser {str(folder)!r} cannot be read from {where}: {reason}")
