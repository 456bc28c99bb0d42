"""Tiny Hugging Face classifiers with random weights, which are saved here with their image processors."""

from __future__ import annotations

import json
import re
import sys

import pytest
import torch
from torch import nn

transformers = pytest.importorskip("transformers", reason="the extra 'huggingface' is not installed")

from freemcg import BlackBox  # noqa: E402
from freemcg.blackbox import load_huggingface  # noqa: E402
from freemcg.blackbox.local.huggingface import HuggingFaceClassifier, is_huggingface_folder  # noqa: E402
from freemcg.models.load import load_black_box  # noqa: E402

SIDE = 16
NAMES = {0: "cat", 1: "dog", 2: "cow"}


def raises(kind, message):
    return pytest.raises(kind, match=f"^{re.escape(message)}$")


def vit(channels=3, **config):
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    return transformers.ViTForImageClassification(
        transformers.ViTConfig(**sizes, image_size=SIDE, patch_size=8, num_channels=channels, id2label=NAMES, **config)
    ).eval()


def resnet():
    torch.manual_seed(0)
    return transformers.ResNetForImageClassification(
        transformers.ResNetConfig(embedding_size=4, hidden_sizes=[4], depths=[1], layer_type="basic", id2label=NAMES)
    ).eval()


def save(folder, network, kind="ViT", **steps):
    """Write a model and the settings of its image processor as `save_pretrained` does, with any backend."""
    network.save_pretrained(folder)
    settings = {"image_processor_type": f"{kind}ImageProcessor", **steps}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def processor_of(folder):
    return transformers.AutoImageProcessor.from_pretrained(folder)


def pictures(channels=3, size=(40, 30)):
    """Pictures of 8-bit noise, which are the hardest to resize in the same way."""
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (4, channels, *size), generator=generator, dtype=torch.uint8)


def processed(folder, images):
    arrays = [image.permute(1, 2, 0).numpy() for image in images]
    return processor_of(folder)(images=arrays, input_data_format="channels_last", return_tensors="pt")["pixel_values"]


HALF = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.25, 0.2]}
STEPS = {
    "bilinear": ("ViT", {"size": {"height": SIDE, "width": SIDE}, "resample": 2, **HALF}),
    "bicubic": ("ViT", {"size": {"height": SIDE, "width": SIDE}, "resample": 3, **HALF}),
    "nearest": ("ViT", {"size": {"height": SIDE, "width": SIDE}, "resample": 0, **HALF}),
    "larger": ("ViT", {"size": {"height": 48, "width": 64}, "resample": 2}),
    "no resize": ("ViT", {"do_resize": False, **HALF}),
    "no mean": ("ViT", {"size": {"height": SIDE, "width": SIDE}, "do_normalize": False}),
    "no rescale": ("ViT", {"do_resize": False, "do_rescale": False, "image_mean": [99.0] * 3, "image_std": [50.0] * 3}),
    "to -1..1": ("ViT", {"do_resize": False, "do_normalize": False, "rescale_factor": 1 / 127.5}),
    "cropped": (
        "CLIP",
        {"size": {"shortest_edge": 20}, "crop_size": {"height": SIDE, "width": 14}, "resample": 3, **HALF},
    ),
    "deit": (
        "DeiT",
        {"size": {"height": 20, "width": 20}, "crop_size": {"height": SIDE, "width": SIDE}, "resample": 3},
    ),
    "convnext": ("ConvNext", {"size": {"shortest_edge": 28}, "crop_pct": 0.875, "resample": 3}),
    "convnext large": ("ConvNext", {"size": {"shortest_edge": 384}, "resample": 2}),
}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("size", [(40, 30), (30, 41), (32, 32)])
def test_preprocessing_is_the_processors_own_to_a_grey_level(tmp_path, name, size):
    kind, steps = STEPS[name]
    folder = save(tmp_path, vit(), kind, **steps)
    images = pictures(size=size)
    theirs = processed(folder, images)
    model = HuggingFaceClassifier(vit(), processor_of(folder).to_dict())
    ours = model.prepare(images / 255)
    assert ours.shape == theirs.shape
    difference = ((ours - theirs) * model.std / model.scale * 255).abs()
    assert difference.max() < (1.6 if steps.get("do_resize", True) else 1e-3)
    assert difference.mean() < (0.4 if steps.get("do_resize", True) else 1e-4)


def test_a_vit_answers_as_its_own_pipeline(tmp_path):
    folder = save(tmp_path, vit(), size={"height": SIDE, "width": SIDE}, **HALF)
    images = pictures(size=(SIDE, SIDE))
    with torch.no_grad():
        expected = vit()(pixel_values=processed(folder, images)).logits.log_softmax(dim=1)
    black_box = load_huggingface(folder)
    torch.testing.assert_close(black_box(images / 255), expected, rtol=1e-4, atol=1e-5)
    assert (black_box.class_names, black_box.channels, black_box.queries) == (("cat", "dog", "cow"), 3, 4)
    torch.testing.assert_close(load_huggingface(folder, batch_size=1)(images / 255), expected, rtol=1e-4, atol=1e-5)


def test_a_resnet_answers_as_its_own_pipeline(tmp_path):
    folder = save(tmp_path, resnet(), "ConvNext", size={"shortest_edge": 28}, crop_pct=0.875, resample=3)
    images = pictures(size=(32, 32))
    with torch.no_grad():
        expected = resnet()(pixel_values=processed(folder, images)).logits.log_softmax(dim=1)
        spread = resnet()(pixel_values=torch.zeros(1, 3, 28, 28)).logits.log_softmax(dim=1) - expected
    torch.testing.assert_close(load_huggingface(folder)(images / 255), expected, rtol=1e-4, atol=1e-4)
    assert spread.abs().max() > 1e-2


def test_grey_models_get_grey_images(tmp_path):
    folder = save(tmp_path, vit(1), size={"height": SIDE, "width": SIDE}, image_mean=[0.1], image_std=[0.3])
    images = pictures(1, (SIDE, SIDE))
    with torch.no_grad():
        expected = vit(1)(pixel_values=(images / 255 - 0.1) / 0.3).logits.log_softmax(dim=1)
    black_box = load_huggingface(folder)
    assert black_box.channels == 1
    torch.testing.assert_close(black_box(images / 255), expected, rtol=1e-4, atol=1e-5)
    colour = (images / 255).expand(-1, 3, -1, -1)
    torch.testing.assert_close(black_box(colour), expected, rtol=1e-4, atol=1e-5)


def test_identity_follows_the_weights_and_the_normalisation(tmp_path):
    first = load_huggingface(save(tmp_path, vit(), size={"height": SIDE, "width": SIDE})).identity
    again = load_huggingface(save(tmp_path, vit(), size={"height": SIDE, "width": SIDE})).identity
    other = load_huggingface(save(tmp_path, vit(), size={"height": SIDE, "width": SIDE}, **HALF)).identity
    assert re.fullmatch("HuggingFaceClassifier:[0-9a-f]{16}", first)
    assert first == again != other


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (
            {"size": {"height": 16, "width": 16}, "resample": 1},
            "resample is 1; it must be 0 (nearest), 2 (bilinear) or 3",
        ),
        (
            {"size": {"longest_edge": 16, "shortest_edge": 8}},
            "size is {'longest_edge': 16, 'shortest_edge': 8}; it must",
        ),
    ],
)
def test_steps_that_are_not_known_are_refused_by_name(tmp_path, steps, message):
    folder = save(tmp_path, vit(), **steps)
    start = re.escape(f"{folder} has an image processor that is not known here: {message}")
    with pytest.raises(ValueError, match=f"^{start}"):
        load_huggingface(folder)


@pytest.mark.parametrize(
    ("kind", "steps"),
    [
        ("MobileViT", {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}),  # BGR
        ("EfficientNet", {"size": {"height": SIDE, "width": SIDE}, "rescale_offset": True, "resample": 2}),
        ("Levit", {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}),
    ],
)
def test_a_processor_that_takes_other_steps_is_refused_by_name(tmp_path, kind, steps):
    folder = save(tmp_path, vit(), kind, **steps)
    named = type(processor_of(folder)).__name__
    with raises(
        ValueError,
        f"{folder} has an image processor, {named}, that does more than resize, crop, rescale and normalise; "
        "call it in a function of your own, and name that as file.py:function",
    ):
        load_huggingface(folder)


def test_a_trunk_without_a_head_is_refused(tmp_path):
    save(tmp_path, vit().vit, size={"height": SIDE, "width": SIDE})
    with raises(
        ValueError,
        f"{tmp_path} holds no weights for classifier.bias, classifier.weight; "
        "is it a classifier, and not only its trunk?",
    ):
        load_huggingface(tmp_path)


@pytest.mark.parametrize(
    ("options", "scores"),
    [
        ({"problem_type": "multi_label_classification"}, "multi_label_logit"),
        ({"problem_type": "regression"}, "value"),
        ({"num_labels": 1}, "value"),
        ({"problem_type": "single_label_classification"}, "logits"),
    ],
)
def test_the_kind_of_answer_is_read_from_the_problem_type(tmp_path, options, scores):
    network = vit(**options)
    save(tmp_path, network, size={"height": SIDE, "width": SIDE})
    box = load_huggingface(tmp_path)
    assert (box.scores, box.num_classes) == (scores, network.config.num_labels)
    assert box(pictures(size=(SIDE, SIDE)) / 255).shape[1] == network.config.num_labels


def test_what_is_not_there_is_named(tmp_path):
    with raises(FileNotFoundError, f"there is no folder {tmp_path / 'nothing'}"):
        load_huggingface(tmp_path / "nothing")
    vit().save_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match=f"^{re.escape(str(tmp_path))} cannot be loaded: [^\n]+$"):
        load_huggingface(tmp_path)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with raises(
        ModuleNotFoundError,
        "Hugging Face classifiers need transformers, which is not installed: pip install 'freemcg[huggingface]'",
    ):
        load_huggingface("google/vit-base-patch16-224")


def test_a_command_line_names_it_with_or_without_hf(tmp_path):
    save(tmp_path, vit(), size={"height": SIDE, "width": SIDE})
    images = pictures() / 255
    expected = load_huggingface(tmp_path)(images)
    for name in (f"hf:{tmp_path}", str(tmp_path)):
        assert torch.equal(load_black_box(name)(images), expected)
        with raises(ValueError, f"{name} says itself what it takes and answers; leave out --scores"):
            load_black_box(name, scores="logits")


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ('{"architectures": ["ViTForImageClassification"]}', True),
        ('{"architectures": ["ViTModel"]}', False),
        ('{"architectures": null}', False),
        ('{"network": "conv_classifier"}', False),
        ("[1]", False),
        ("{", False),
        (None, False),
    ],
)
def test_a_folder_is_known_by_its_architecture(tmp_path, text, known):
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    assert is_huggingface_folder(tmp_path) is known


def test_what_a_raw_model_answers_is_unwrapped_too(tmp_path):
    class Raw(nn.Module):
        def __init__(self, **options):
            super().__init__()
            self.network, self.options = vit(), options

        def forward(self, images):
            return self.network(images, **self.options)

    images = pictures(size=(SIDE, SIDE)) / 255
    expected = BlackBox(Raw().eval())(images)
    torch.testing.assert_close(BlackBox(Raw(return_dict=False).eval())(images), expected)
    with raises(
        TypeError,
        "the black box answered BaseModelOutputWithPooling (last_hidden_state); it must answer numbers: a "
        "tensor, an array, or lists",
    ):
        BlackBox(lambda x: vit().vit(x))(images)
