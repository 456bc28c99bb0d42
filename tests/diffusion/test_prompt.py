"""Latent models that take a text or a class: what they are told, and what is refused."""

from __future__ import annotations

import json
import re

import diffusers
import pytest
import torch
from latents import CLASSES, save_latent_pipeline
from safetensors.torch import load_file, save_file

from freemcg import BlackBox, Denoiser
from freemcg.messages.errors import InvalidType, InvalidValue
from freemcg.tasks.record import made_by

ABAR = diffusers.DDIMScheduler().alphas_cumprod[300].item()


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """The folder of a pipeline that takes a text, and the pipeline."""
    folder = tmp_path_factory.mktemp("texts")
    return folder, save_latent_pipeline("Stable Diffusion", folder)


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classes")
    return folder, save_latent_pipeline("DiT", folder)


@pytest.fixture
def x_t(rng):
    return torch.randn(2, 2, 4, 4, generator=rng)


def clean(x_t, noise):
    return (x_t - (1 - ABAR) ** 0.5 * noise) / ABAR**0.5


@pytest.mark.parametrize(("prompt", "weight"), [("a cat", 1.0), ("a cat", 3.5), ("dog", 0.5)])
def test_a_text_is_told_and_guided_to_as_the_pipeline_encodes_it(prompt, weight, texts, x_t):
    folder, pipeline = texts
    denoiser = Denoiser.from_pretrained(folder, prompt=prompt, guidance_scale=weight)
    told, empty = pipeline.encode_prompt(prompt, "cpu", 2, True)
    times = torch.tensor([300, 300])
    with torch.no_grad():
        to, away = (pipeline.unet(x_t, times, encoder_hidden_states=each).sample for each in (told, empty))
    assert (to - away).abs().max() > 1e-3
    expected = clean(x_t, away + weight * (to - away))
    torch.testing.assert_close(denoiser.denoise(x_t, 300), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("given", "label", "weight"),
    [({}, CLASSES, 1.0), ({"condition": 2}, 2, 1.0), ({"condition": 2, "guidance_scale": 4.0}, 2, 4.0)],
)
def test_a_transformer_is_told_its_null_class_or_a_given_one(given, label, weight, classes, x_t):
    folder, pipeline = classes
    denoiser = Denoiser.from_pretrained(folder, **given)
    times = torch.tensor([300, 300])
    with torch.no_grad():
        to, away = (
            pipeline.transformer(x_t, timestep=times, class_labels=torch.tensor([each, each])).sample[:, :2]
            for each in (label, CLASSES)
        )
    assert (label == CLASSES) == torch.equal(to, away)
    expected = clean(x_t, away + weight * (to - away))
    torch.testing.assert_close(denoiser.denoise(x_t, 300), expected, rtol=1e-4, atol=1e-4)


def test_the_text_is_part_of_the_identity_and_of_the_record(texts, tmp_path):
    folder, _ = texts
    told = [{"prompt": "a cat"}, {"prompt": "a dog"}, {}, {"prompt": "a cat", "guidance_scale": 2.0}]
    denoisers = [Denoiser.from_pretrained(folder, **each) for each in told]
    save_latent_pipeline("Stable Diffusion", tmp_path)
    weights = tmp_path / "text_encoder" / "model.safetensors"
    changed = {name: 1.1 * weight for name, weight in load_file(weights).items()}
    weights.unlink()
    save_file(changed, weights, {"format": "pt"})
    others = [*denoisers, Denoiser.from_pretrained(tmp_path, prompt="a cat")]
    assert len({each.identity for each in others}) == len(others)
    assert ":text 'a cat', " in denoisers[0].identity
    assert Denoiser.from_pretrained(folder, prompt="").identity == denoisers[2].identity
    for each, denoiser in zip(told, denoisers, strict=True):
        recorded = made_by(BlackBox(lambda images: images), denoiser, {})["condition"]
        assert recorded == {"prompt": "", "guidance_scale": 1.0, **each}
        assert json.loads(json.dumps(recorded)) == recorded


@pytest.mark.parametrize("variant", [None, "fp16"])
@pytest.mark.parametrize("safe", [True, False])
def test_a_text_encoder_of_one_variant_is_read_in_float32(variant, safe, texts, tmp_path):
    folder, pipeline = texts
    save_latent_pipeline("Stable Diffusion", tmp_path)
    (tmp_path / "text_encoder" / "model.safetensors").unlink()
    pipeline.text_encoder.save_pretrained(tmp_path / "text_encoder", variant=variant)
    if not safe:
        (stored,) = (tmp_path / "text_encoder").glob("*.safetensors")
        named = stored.name.replace("model", "pytorch_model", 1).replace(".safetensors", ".bin")
        torch.save(load_file(stored), stored.with_name(named))
        stored.unlink()
    told = [Denoiser.from_pretrained(each, prompt="cat").condition.told for each in (folder, tmp_path)]
    torch.testing.assert_close(*told)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"condition": 1}, "the denoiser {} takes no class; leave out condition=1"),
        ({"null_class": 1}, "the denoiser {} takes no class; leave out null_class=1"),
        ({"prompt": 3}, "prompt must be a text, got 3"),
        ({"prompt": "cats dogs"}, "prompt has 8 tokens, but the denoiser's text encoder takes 7; shorten it"),
        (
            {"guidance_scale": 2.0},
            "guidance_scale=2 leads from the empty prompt to another; give prompt (--prompt)",
        ),
        ({"prompt": "cat", "guidance_scale": -1.0}, "guidance_scale must be in 0..100, got -1"),
    ],
)
def test_what_a_model_of_texts_cannot_be_told_is_refused(given, message, texts):
    with pytest.raises((InvalidValue, InvalidType), match=f"^{re.escape(message.format(texts[0]))}$"):
        Denoiser.from_pretrained(texts[0], **given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"prompt": "cat"}, "the denoiser {} takes no text; leave out prompt='cat'"),
        ({"condition": 6}, "condition must be a class of the denoiser's network, one of 0..5, got 6"),
        (
            {"guidance_scale": 2.0},
            "guidance_scale=2 leads from the null class to another; give condition (--condition) and null_class "
            "(--null-class), two classes of the denoiser's network",
        ),
    ],
)
def test_what_a_transformer_with_classes_cannot_be_told_is_refused(given, message, classes):
    with pytest.raises(InvalidValue, match=f"^{re.escape(message.format(classes[0]))}$"):
        Denoiser.from_pretrained(classes[0], **given)


def test_a_network_that_needs_a_text_is_not_used_without(texts):
    message = "the network needs a text besides the image; load its pipeline whole, with Denoiser.from_pretrained"
    with pytest.raises(InvalidValue, match=f"^{re.escape(message)}$"):
        Denoiser(texts[1].unet, diffusers.DDIMScheduler())


def test_a_text_encoder_of_another_width_is_refused(texts):
    text = Denoiser.from_pretrained(texts[0]).condition
    unet = diffusers.UNet2DConditionModel.from_config(texts[1].unet.config, cross_attention_dim=12)
    message = "the text encoder answers 8 numbers a token, but the network takes 12; take both from the same pipeline"
    with pytest.raises(InvalidValue, match=f"^{re.escape(message)}$"):
        Denoiser(unet, diffusers.DDIMScheduler(), text=text)


@pytest.mark.parametrize(
    ("part", "value", "known"),
    [
        ("text_encoder", ["transformers", "T5EncoderModel"], "CLIPTextModel"),
        ("text_encoder", ["mine", "CLIPTextModel"], "CLIPTextModel"),
        ("tokenizer", ["transformers", "T5Tokenizer"], "CLIPTokenizer"),
        ("tokenizer", "CLIPTokenizer", "CLIPTokenizer"),
    ],
)
def test_another_text_encoder_is_refused(part, value, known, tmp_path):
    save_latent_pipeline("Stable Diffusion", tmp_path)
    index = tmp_path / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), part: value}))
    message = (
        f'{index} names {json.dumps(value)} as its {part}, but must name ["transformers", "{known}"]; take a pipeline '
        "with that"
    )
    with pytest.raises(InvalidValue, match=f"^{re.escape(message)}$"):
        Denoiser.from_pretrained(tmp_path)


def test_weights_of_another_text_encoder_are_refused(tmp_path):
    save_latent_pipeline("Stable Diffusion", tmp_path)
    weights = tmp_path / "text_encoder" / "model.safetensors"
    kept = {name: weight.clone() for name, weight in load_file(weights).items() if "fc1.bias" not in name}
    weights.unlink()
    save_file(kept, weights, {"format": "pt"})
    with pytest.raises(InvalidValue, match=r"^the weights in .*text_encoder are not those of .*missing .*fc1\.bias"):
        Denoiser.from_pretrained(tmp_path)
    weights.unlink()
    with pytest.raises(FileNotFoundError, match=r"text_encoder holds no weights \(model\.safetensors\)$"):
        Denoiser.from_pretrained(tmp_path)
