from __future__ import annotations

import base64
import json
import re

import inference_server
import misbehaving_server
import pytest
import torch
from inference_server import NAMES
from plane import make

from freemcg import BlackBox
from freemcg.blackbox import SCORE_KINDS, RemoteError
from freemcg.blackbox.remote.image_input import read_input
from freemcg.blackbox.remote.inference_protocol import InferenceProtocol, inference_black_box
from freemcg.blackbox.remote.tensors import read_outputs
from freemcg.models.load import load_black_box

SAY = "say layout='NCHW' or layout='NHWC' (--layout)"


@pytest.fixture(scope="module")
def server():
    with inference_server.running() as address:
        yield address


@pytest.fixture(scope="module")
def misbehaving():
    with misbehaving_server.running() as running:
        yield running


def url(server, model, flavour="json"):
    return f"{server}/{flavour}/v2/models/{model}"


def raises(kind, message):
    return pytest.raises(kind, match=f"^{re.escape(message)}$")


def corners(images):
    """The values that the server computes, for images that it got whole."""
    return torch.stack([images[:, 0, 0, 0], images[:, -1, 0, -1], images[:, 0, -1, 0]], dim=1)


@pytest.fixture
def pictures():
    return torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(3))


TAKEN = [
    "UINT8_NHWC_-1,4,4,3",
    "UINT8_NCHW_-1,3,4,4",
    "UINT8_NHWC_-1,-1,-1,1",
    "FP32_NCHW_-1,3,4,4",
    "FP64_NHWC_-1,4,4,3",
    "FP32_NHW_-1,4,4",
    "FP32_ND_-1,16",
    "UINT8_ND_1,16",
    "FP32_CHW_3,4,4",
    "UINT8_HWC_4,4,3",
    "FP32_NCHW_1,3,4,4",
    "BYTES_N_-1",
    "BYTES_N1_-1,1",
    "BYTES_N_1",
]


@pytest.mark.parametrize("flavour", ["json", "binary"])
@pytest.mark.parametrize("model", TAKEN)
def test_what_models_take(server, pictures, model, flavour):
    """The answers are those of the model in this process, for the same 8-bit images."""
    black_box = inference_black_box(url(server, model + "_scores", flavour), "logits", batch_size=2)
    channels = 1 if "NHW_" in model or "ND" in model or model == "UINT8_NHWC_-1,-1,-1,1" else 3
    local = BlackBox(corners, "logits", channels=channels, eight_bit=True)
    torch.testing.assert_close(black_box(pictures), local(pictures), rtol=0, atol=1e-6)
    assert (black_box.queries, black_box.answered) == (5, 5)
    assert black_box.channels == (None if "BYTES" in model else channels)


def test_half_precision_goes_in_the_binary_extension_only(server, pictures):
    black_box = inference_black_box(url(server, "FP16_NCHW_-1,3,4,4_scores", "binary"), "logits")
    local = BlackBox(corners, "logits", eight_bit=True)
    torch.testing.assert_close(black_box(pictures), local(pictures), rtol=0, atol=1e-3)
    address = url(server, "FP16_NCHW_-1,3,4,4_scores")
    with raises(ValueError, f"{address} takes FP16, which JSON cannot hold, and has no binary extension"):
        inference_black_box(address, "logits")


@pytest.mark.parametrize("flavour", ["json", "binary"])
@pytest.mark.parametrize("output", ["label", "name"])
def test_labels_by_index_and_by_name(server, pictures, output, flavour):
    black_box = inference_black_box(url(server, f"UINT8_NHWC_-1,4,4,3_{output}", flavour), "label", class_names=NAMES)
    assert torch.equal(black_box(pictures).argmax(dim=1), corners((255 * pictures).round()).argmax(dim=1))


@pytest.mark.parametrize("flavour", ["json", "binary"])
@pytest.mark.parametrize("image", ["UINT8_NHWC_-1,4,4,3", "FP32_CHW_3,4,4"])
@pytest.mark.parametrize(
    ("output", "scores"),
    [
        *((output, kind) for output in ("column", "flat") for kind in ("binary", "binary_logit", "value")),
        *(("scores", kind) for kind in ("multi_label", "multi_label_logit", "value")),
    ],
)
def test_kinds_of_scores_beside_exclusive_classes(server, pictures, output, scores, image, flavour):
    """The answers are those of the model in this process."""
    remote = load_black_box(url(server, f"{image}_{output}", flavour), scores=scores)
    local = BlackBox(lambda images: corners(images) if output == "scores" else corners(images)[:, 0], scores)
    rounded = (pictures * 255).round() / 255
    torch.testing.assert_close(remote(pictures), local(rounded), rtol=0, atol=1e-6)
    assert (remote.queries, remote.num_classes) == (5, local.num_classes)


@pytest.mark.parametrize(
    ("output", "declared"), [("column", "logits"), ("flat", "logits"), ("scores", "probabilities")]
)
def test_another_kind_is_refused_with_a_proposal(server, pictures, output, declared):
    address = url(server, f"UINT8_NHWC_-1,4,4,3_{output}")
    with pytest.raises(ValueError) as caught:
        inference_black_box(address, declared)(pictures[:1])
    proposed = re.search("say scores='(.*?)'", str(caught.value))[1]
    assert proposed == ("multi_label" if output == "scores" else "binary")
    assert inference_black_box(address, proposed)(pictures).isfinite().all()


@pytest.mark.parametrize("scores", ["binary", "multi_label", "value"])
def test_an_explanation_is_that_of_the_model_in_this_process(server, denoiser, image, scores):
    output, target = ("column", 1) if scores == "binary" else ("scores", 2)
    remote = inference_black_box(url(server, f"FP32_NCHW_-1,1,4,4_{output}"), scores)
    remote.may_change = False
    local = BlackBox(lambda x: corners(x)[:, 0] if scores == "binary" else corners(x), scores, eight_bit=True)
    maps = [make(box, denoiser).explain(image, target) for box in (remote, local)]
    torch.testing.assert_close(maps[0].values, maps[1].values, rtol=1e-4, atol=1e-6)
    assert [each.queries for each in maps] == [maps[0].queries] * 2
    goal = "2=up:0.1" if scores == "value" else target
    found = [make(box, denoiser).counterfactual(image, goal) for box in (remote, local)]
    assert found[0].status == found[1].status
    torch.testing.assert_close(found[0].image, found[1].image, rtol=0, atol=2 / 255)


def test_one_of_several_outputs(server, pictures):
    address = url(server, "FP32_NCHW_-1,3,4,4_both")
    refusal = f"{address} has the outputs label, scores; name one of them with output_name or --output"
    with raises(ValueError, refusal):
        inference_black_box(address, "logits")
    with raises(
        ValueError, f"{address} has the outputs label, scores; name one of them with output_name or --output, not 'p'"
    ):
        inference_black_box(address, "logits", output_name="p")
    black_box = inference_black_box(address, "logits", output_name="scores")
    local = BlackBox(corners, "logits", eight_bit=True)
    torch.testing.assert_close(black_box(pictures), local(pictures), rtol=0, atol=1e-6)


def test_one_of_several_inputs(server):
    address = url(server, "FP32_NCHW_-1,3,4,4_scores/versions/2")
    with raises(ValueError, f"{address} has the inputs image, mask; name one of them with input_name"):
        inference_black_box(address, "logits")
    assert InferenceProtocol(address, input_name="image").input.name == "image"


def test_images_are_made_to_the_size_and_normalised(server, pictures):
    arguments = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.4, 0.3]}
    black_box = inference_black_box(url(server, "FP32_NCHW_-1,3,2,2_scores"), "logits", **arguments)
    local = BlackBox(corners, "logits", image_size=2, eight_bit=True, **arguments)
    torch.testing.assert_close(black_box(pictures), local(pictures), rtol=0, atol=1e-5)


def test_identity_follows_the_model(server):
    first, again, other = (
        InferenceProtocol(url(server, model)).identity
        for model in ("UINT8_NHWC_-1,4,4,3_scores", "UINT8_NHWC_-1,4,4,3_scores", "UINT8_NHWC_-1,4,4,3_label")
    )
    assert first == again != other
    assert re.fullmatch(re.escape(url(server, "UINT8_NHWC_-1,4,4,3_scores")) + ":[0-9a-f]{16}", first)


# --- metadata ---


@pytest.mark.parametrize(
    ("datatype", "shape", "layout", "read"),
    [
        ("UINT8", [-1, 224, 200, 3], None, ("NHWC", (224, 200), 3, False)),
        ("FP32", [-1, 3, 224, 200], None, ("NCHW", (224, 200), 3, False)),
        ("FP32", [1, 3, 224, 200], None, ("NCHW", (224, 200), 3, True)),
        ("FP32", [-1, -1, -1, 3], None, ("NHWC", None, 3, False)),
        ("FP32", [-1, -1, -1, -1], "NCHW", ("NCHW", None, None, False)),
        ("FP32", [-1, 1, 28, 1], "NCHW", ("NCHW", (28, 1), 1, False)),
        ("FP32", [-1, 28, 20], None, ("NHW", (28, 20), 1, False)),
        ("FP32", [3, 28, 20], None, ("CHW", (28, 20), 3, True)),
        ("FP32", [28, 20, 3], None, ("HWC", (28, 20), 3, True)),
        ("FP32", [-1, 64], None, ("ND", (8, 8), 1, False)),
        ("BYTES", [-1], None, ("N", None, None, False)),
        ("BYTES", [1, 1], None, ("N1", None, None, True)),
    ],
)
def test_metadata_tell_what_is_taken(datatype, shape, layout, read):
    found = read_input({"name": "x", "datatype": datatype, "shape": shape}, layout, "P")
    assert (found.layout, found.image_size, found.channels, found.one_at_a_time) == read


@pytest.mark.parametrize(
    ("datatype", "shape", "layout", "message"),
    [
        (
            "INT32",
            [-1, 3, 4, 4],
            None,
            "P takes INT32 of shape [-1, 3, 4, 4]; images go as UINT8, FP16, FP32, FP64 or BYTES",
        ),
        (
            "FP32",
            [-1, 3, 4, 3],
            None,
            "P takes FP32 of shape [-1, 3, 4, 3]; say layout='NCHW' or layout='NHWC' (--layout)",
        ),
        (
            "FP32",
            [-1, -1, -1, -1],
            None,
            "P takes FP32 of shape [-1, -1, -1, -1]; say layout='NCHW' or layout='NHWC' (--layout)",
        ),
        (
            "FP32",
            [-1, 3, 8, 8],
            "NHWC",
            "P takes FP32 of shape [-1, 3, 8, 8]; " + SAY + ", not 'NHWC'",
        ),
        (
            "FP32",
            [8, 3, 4, 4],
            None,
            "P takes FP32 of shape [8, 3, 4, 4]; it must take one image, or any number of them",
        ),
        (
            "FP32",
            [-1, 63],
            None,
            "P takes FP32 of shape [-1, 63]; a flat image must be grey and square, [-1, side * side]",
        ),
        ("FP32", [-1], None, "P takes FP32 of shape [-1]; an image has 3 axes, and a batch of images has 4"),
        ("BYTES", [-1, 3, 4, 4], None, "P takes BYTES of shape [-1, 3, 4, 4]; encoded images have shape [-1]"),
    ],
)
def test_metadata_that_do_not_tell_are_refused(datatype, shape, layout, message):
    with raises(ValueError, message):
        read_input({"name": "x", "datatype": datatype, "shape": shape}, layout, "P")


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        ("none_N_0_scores", {}, "{} does not tell its inputs; state them in the settings of the model"),
        ("UINT8_NHWC_-1,4,5,3_scores", {"image_size": 8}, "image_size is 8 but {} takes 4x5"),
        ("UINT8_NHWC_-1,4,5,3_scores", {"channels": 1}, "channels is 1 but {} takes 3"),
        (
            "UINT8_NHWC_-1,4,5,3_scores",
            {"mean": [0.5], "std": [0.5]},
            "{} takes 8-bit images (UINT8); leave out mean and std",
        ),
    ],
)
def test_arguments_that_do_not_fit_the_model_are_refused(server, model, arguments, message):
    with raises(ValueError, message.format(url(server, model))):
        inference_black_box(url(server, model), "logits", **arguments)


def test_a_model_that_is_not_there_is_refused_by_the_server(server):
    address = url(server, "cat_N_0_scores")
    with raises(RemoteError, f"""{address} answered 404: '{{"error": "there is no model cat_N_0_scores"}}'"""):
        inference_black_box(address, "logits")


def test_an_address_of_something_else_is_refused(server):
    with raises(ValueError, f"url is '{server}/predict'; the address of a model ends in /v2/models/NAME"):
        inference_black_box(f"{server}/predict", "logits")


def test_a_server_of_another_protocol_is_refused(misbehaving):
    address = f"http://127.0.0.1:{misbehaving.port}/v2/models/digits"
    with raises(
        ValueError, f"http://127.0.0.1:{misbehaving.port}/v2 does not speak the Open Inference Protocol v2: '[]'"
    ):
        inference_black_box(address, "logits")


# --- answers ---

TENSOR = {"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [0.5, 1.5]}


@pytest.mark.parametrize("data", [[0.5, 1.5], [[0.5, 1.5]]])
def test_data_may_be_flat_or_nested(data):
    found = read_outputs(json.dumps({"outputs": [{**TENSOR, "data": data}]}).encode(), {})
    assert found["y"].tolist() == [[0.5, 1.5]]


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>", b"[]", b"{}", b'{"outputs": [{}]}']
    + [json.dumps({"outputs": [{**TENSOR, **wrong}]}).encode() for wrong in ({"shape": [3]}, {"datatype": "FP31"},
        {"data": ["a", "b"]}, {"data": None}, {"shape": None}, {"parameters": {"binary_data_size": 8}})],
)  # fmt: skip
def test_an_answer_that_is_none_is_refused(content):
    with raises(ValueError, "is no inference response of protocol v2"):
        read_outputs(content, {})


@pytest.mark.parametrize("parameters", [{"binary_data_size": 7}, {"binary_data_size": 12}])
def test_a_binary_answer_that_is_cut_is_refused(parameters):
    head = json.dumps({"outputs": [{**TENSOR, "parameters": parameters}]}).encode()
    with raises(ValueError, "is no inference response of protocol v2"):
        read_outputs(head + b"\0" * 8, {"inference-header-content-length": str(len(head))})


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"outputs": [{**TENSOR, "name": "z"}]}, "lacks the output 'scores'"),
        ({"outputs": [{**TENSOR, "name": "scores"}]}, "has shape (1, 2) for 2 images"),
        ({"error": "?"}, "is no inference response of protocol v2"),
    ],
)
def test_a_wrong_answer_is_told_in_one_sentence(server, misbehaving, pictures, value, problem):
    black_box = inference_black_box(url(server, "UINT8_NHWC_-1,4,4,3_scores"), "logits")
    text = json.dumps(value)
    address = misbehaving.url("v2", "say=" + base64.urlsafe_b64encode(text.encode()).decode())
    black_box.predict._url = address  # questions go to ADDRESS/infer by POST
    with pytest.raises((ValueError, RemoteError)) as caught:
        black_box(pictures[:2])
    assert problem in str(caught.value)


def test_a_secret_is_sent_with_every_request_and_shown_nowhere(server, monkeypatch):
    monkeypatch.setenv("FREEMCG_KEY", "sk-secret")
    black_box = inference_black_box(
        url(server, "UINT8_NHWC_-1,4,4,3_scores"), "logits", headers={"Authorization": "Bearer ${FREEMCG_KEY}"}
    )
    assert black_box.predict.transport._client.headers["authorization"] == "Bearer sk-secret"
    assert "sk-secret" not in repr(black_box) + repr(black_box.predict) + black_box.identity


def test_an_address_is_a_model(server, pictures):
    address = url(server, "UINT8_NHWC_-1,4,4,3_scores")
    black_box = load_black_box(address, scores="logits")
    torch.testing.assert_close(black_box(pictures), BlackBox(corners, eight_bit=True)(pictures), rtol=0, atol=1e-6)
    black_box = load_black_box(
        url(server, "FP32_NCHW_-1,-1,-1,-1_both"), scores="logits", output="scores", layout="NCHW", mean=0.5, std=0.25
    )
    local = BlackBox(corners, eight_bit=True, mean=0.5, std=0.25)
    torch.testing.assert_close(black_box(pictures), local(pictures), rtol=0, atol=1e-5)
    kinds = ", ".join(SCORE_KINDS)
    with raises(ValueError, f"say what {address} answers: --scores is one of {kinds}"):
        load_black_box(address)
