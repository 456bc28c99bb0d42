"""ONNX files of a few nodes. They are made here, and their answers are known in closed form."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

onnx = pytest.importorskip("onnx", reason="the extra 'onnx' is not installed")
pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from freemcg import BlackBox, load_bundle  # noqa: E402
from freemcg.blackbox import load_onnx  # noqa: E402
from freemcg.models.load import load_black_box  # noqa: E402

CLASSES = 3
SAY = "say layout='NCHW' or layout='NHWC' (--layout)"
FLOAT, FLOAT16, UINT8 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8


def raises(kind, message):
    return pytest.raises(kind, match=f"^{re.escape(message)}$")


def save(path, nodes, shape, outputs, *, datatype=FLOAT, constants=None, inputs=("images",)):
    """Write a graph. `outputs` maps names to datatypes and shapes."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, datatype, shape) for name in inputs],
        [helper.make_tensor_value_info(name, *kind) for name, kind in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def weights(rng):
    return torch.randn(3 * 6 * 4, CLASSES, generator=rng)


def linear(path, weights, *, batch="n", layout="NCHW", datatype=FLOAT, last=None, size=(6, 4), sizes=None):
    """A graph of `flatten(images as NCHW) @ weights`, with the node `last` behind it."""
    number = {FLOAT: np.float32, FLOAT16: np.float16, UINT8: np.float32}[datatype]
    nodes, at = [], "images"
    if datatype == UINT8:
        nodes.append(helper.make_node("Cast", [at], ["cast"], to=FLOAT))
        at = "cast"
    if layout == "NHWC":
        nodes.append(helper.make_node("Transpose", [at], ["channels_first"], perm=[0, 3, 1, 2]))
        at = "channels_first"
    nodes.append(helper.make_node("Flatten", [at], ["flat"]))
    nodes.append(helper.make_node("MatMul", ["flat", "weights"], ["scores" if last is None else "logits"]))
    if last is not None:
        nodes.append(helper.make_node(last, ["logits"], ["scores"]))
    height, width = size
    shape = [batch, 3, height, width] if layout == "NCHW" else [batch, height, width, 3]
    kind = FLOAT16 if datatype == FLOAT16 else FLOAT
    constants = {"weights": weights.numpy().astype(number)}
    outputs = {"scores": (kind, [batch, CLASSES])}
    return save(path, nodes, sizes or shape, outputs, datatype=datatype, constants=constants)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tiny.onnx"


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("batch", ["n", 1, 2, 3, 5, 7])
def test_a_linear_layer_answers_its_logits_whatever_batch_the_file_fixes(path, weights, images, layout, batch):
    black_box = load_onnx(linear(path, weights, layout=layout, batch=batch))
    expected = (images.flatten(1) @ weights).log_softmax(dim=1)
    torch.testing.assert_close(black_box(images), expected, rtol=1e-4, atol=1e-5)
    assert (black_box.queries, black_box.scores, black_box.channels) == (5, "logits", 3)
    assert (black_box.image_size, black_box.num_classes) == ((6, 4), CLASSES)


class CountingSession:
    def __init__(self, session):
        self.session, self.sizes = session, []

    def run(self, names, feed):
        self.sizes.append(len(feed["images"]))
        return self.session.run(names, feed)


@pytest.mark.parametrize(
    ("batch", "batch_size", "sizes"),
    [("n", 64, [5]), ("n", 2, [2, 2, 1]), (1, 64, [1] * 5), (1, 2, [1] * 5), (4, 64, [4, 4])],
)
def test_a_fixed_batch_is_kept(path, weights, images, batch, batch_size, sizes):
    black_box = load_onnx(linear(path, weights, batch=batch), batch_size=batch_size)
    black_box.predict.session = CountingSession(black_box.predict.session)
    black_box(images)
    assert black_box.predict.session.sizes == sizes
    assert black_box.queries == 5


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_eight_bit_images_are_rounded_and_reach_to_255(path, weights, images, layout):
    black_box = load_onnx(linear(path, weights / 255, layout=layout, datatype=UINT8))
    images[0, 0, 0, 0], images[0, 1, 0, 0] = 1, 0
    expected = ((images * 255).round() / 255).flatten(1) @ weights
    torch.testing.assert_close(black_box(images), expected.log_softmax(dim=1), rtol=1e-4, atol=1e-5)
    far = (images.flatten(1) @ weights).log_softmax(dim=1)
    assert (black_box(images) - far).abs().max() > 1e-3


def test_half_precision_files_get_half_precision_images(path, weights, images):
    black_box = load_onnx(linear(path, weights, datatype=FLOAT16))
    expected = (images.half().float().flatten(1) @ weights.half().float()).log_softmax(dim=1)
    torch.testing.assert_close(black_box(images), expected, rtol=1e-2, atol=2e-2)


def test_images_are_resized_repeated_and_normalised_for_the_file(path, weights, images):
    black_box = load_onnx(linear(path, weights), mean=[0.1, 0.2, 0.3], std=[1 / 255, 0.5, 2.0])
    grey = images[:, :1, :3, :3]
    plain = BlackBox(
        lambda x: x.flatten(1) @ weights, image_size=(6, 4), channels=3, mean=[0.1, 0.2, 0.3], std=[1 / 255, 0.5, 2.0]
    )
    torch.testing.assert_close(black_box(grey), plain(grey), rtol=1e-4, atol=1e-3)


def test_a_free_size_takes_the_users(path, weights, images):
    free = linear(path, weights, sizes=["n", 3, "h", "w"])
    assert load_onnx(free).image_size is None
    torch.testing.assert_close(load_onnx(free, image_size=(6, 4))(images), load_onnx(free)(images))
    with pytest.raises(ValueError, match=f"^{re.escape(str(free))} refused images of shape 5x3x5x5: .+$"):
        load_onnx(free, image_size=5)(images)


@pytest.mark.parametrize(
    ("last", "kind"),
    [(None, "logits"), ("Softmax", "probabilities"), ("LogSoftmax", "log_probabilities"), ("Identity", "logits")],
)
def test_scores_are_read_from_the_last_node(path, weights, images, last, kind):
    black_box = load_onnx(linear(path, weights / 10, last=last))
    assert black_box.scores == kind
    expected = (images.flatten(1) @ weights / 10).log_softmax(dim=1)
    torch.testing.assert_close(black_box(images), expected, rtol=1e-4, atol=1e-4)


def test_a_sigmoid_at_the_end_means_independent_labels(path, weights, images):
    black_box = load_onnx(linear(path, weights / 10, last="Sigmoid"))
    assert black_box.scores == "multi_label"
    expected = (images.flatten(1) @ weights / 10).sigmoid()
    torch.testing.assert_close(black_box(images).exp(), expected, rtol=1e-4, atol=1e-4)


def test_a_softmax_is_seen_through_what_changes_no_score(path, weights, images):
    nodes = [
        helper.make_node("Flatten", ["images"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
        helper.make_node("Cast", ["probabilities"], ["cast"], to=FLOAT16),
        helper.make_node("Identity", ["cast"], ["scores"]),
    ]
    save(path, nodes, ["n", 3, 6, 4], {"scores": (FLOAT16, ["n", "c"])}, constants={"weights": weights.numpy() / 10})
    black_box = load_onnx(path)
    assert (black_box.scores, black_box.num_classes) == ("probabilities", CLASSES)
    expected = (images.flatten(1) @ weights / 10).log_softmax(dim=1)
    torch.testing.assert_close(black_box(images), expected, rtol=0, atol=0.02)


def test_the_users_word_on_scores_goes_first(path, weights, images):
    assert load_onnx(linear(path, weights, last="Softmax"), "logits").scores == "logits"


def test_another_last_node_does_not_tell_what_it_answers(path, weights):
    linear(path, weights, last="Tanh")
    with raises(
        ValueError,
        f"{path} ends in Tanh, which does not tell the kind of scores; say scores='logits' or another (--scores)",
    ):
        load_onnx(path)
    assert load_onnx(path, "logits").scores == "logits"


def two_outputs(path, weights):
    nodes = [
        helper.make_node("Flatten", ["images"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        helper.make_node("ArgMax", ["logits"], ["label"], axis=1, keepdims=0),
    ]
    outputs = {"label": (TensorProto.INT64, ["n"]), "logits": (FLOAT, ["n", CLASSES])}
    return save(path, nodes, ["n", 3, 6, 4], outputs, constants={"weights": weights.numpy()})


def test_one_of_several_outputs_is_named(path, weights, images):
    two_outputs(path, weights)
    logits = images.flatten(1) @ weights
    torch.testing.assert_close(load_onnx(path, output="logits")(images), logits.log_softmax(1), rtol=1e-4, atol=1e-5)
    labels = load_onnx(path, "label", output="label", num_classes=CLASSES)(images)
    assert torch.equal(labels.argmax(dim=1), logits.argmax(dim=1))
    with raises(ValueError, f"{path} has 2 outputs; say which with output= or --output: label, logits"):
        load_onnx(path)
    with raises(ValueError, f"{path} has no output 'scores'; it has label, logits"):
        load_onnx(path, output="scores")


@pytest.mark.parametrize(
    ("sizes", "layout", "message"),
    [
        (["n", 3, 6, 3], None, "takes images of shape (?, 3, 6, 3); say layout='NCHW' or layout='NHWC' (--layout)"),
        (
            ["n", "c", "h", "w"],
            None,
            "takes images of shape (?, ?, ?, ?); say layout='NCHW' or layout='NHWC' (--layout)",
        ),
        (["n", 4, 6, 4], None, "takes images of shape (?, 4, 6, 4), which have no 1 or 3 channels as any layout"),
        (["n", 3, 6, 4], "NHWC", "takes images of shape (?, 3, 6, 4), which have no 1 or 3 channels as NHWC"),
        (["n", 72], None, "takes an input of 2 axes; images are a batch with 4"),
    ],
)
def test_a_layout_that_is_not_plain_is_asked_for(path, sizes, layout, message):
    node = helper.make_node("Flatten", ["images"], ["scores"])
    save(path, [node], sizes, {"scores": (FLOAT, ["n", "c"])})
    with raises(ValueError, f"{path} {message}"):
        load_onnx(path, layout=layout)


def test_the_users_layout_decides_where_both_could_be(path, weights, images):
    linear(path, weights, sizes=["n", "a", "b", "c"])
    expected = (images.flatten(1) @ weights).log_softmax(dim=1)
    torch.testing.assert_close(load_onnx(path, layout="NCHW")(images), expected, rtol=1e-4, atol=1e-5)
    expected = (images.permute(0, 2, 3, 1).flatten(1) @ weights).log_softmax(dim=1)
    torch.testing.assert_close(load_onnx(path, layout="NHWC")(images), expected, rtol=1e-4, atol=1e-5)


def test_arguments_that_do_not_go_with_the_file_are_refused(path, weights):
    linear(path, weights)
    with raises(ValueError, "layout must be NCHW or NHWC, got 'CHW'"):
        load_onnx(path, layout="CHW")
    with raises(ValueError, f"{path} takes images of size (6, 4), not (8, 8); leave out image_size"):
        load_onnx(path, image_size=8)
    linear(path, weights, datatype=UINT8)
    with raises(ValueError, f"{path} takes 8-bit images, which are not normalised; leave out mean and std"):
        load_onnx(path, mean=[0.0] * 3, std=[1.0] * 3)


def test_files_that_are_no_classifier_are_refused(tmp_path, path):
    with raises(FileNotFoundError, f"there is no file {path}"):
        load_onnx(path)
    path.write_bytes(b"not a model")
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))} cannot be read as an ONNX file: [^\n]+$"):
        load_onnx(path)
    node = helper.make_node("Add", ["images", "mask"], ["scores"])
    save(path, [node], ["n", 3, 6, 4], {"scores": (FLOAT, ["n", 3, 6, 4])}, inputs=("images", "mask"))
    with raises(ValueError, f"{path} takes 2 inputs (images, mask); it must take images alone"):
        load_onnx(path)
    node = helper.make_node("Identity", ["images"], ["scores"])
    save(path, [node], ["n", 3, 6, 4], {"scores": (TensorProto.DOUBLE, ["n", 3, 6, 4])}, datatype=TensorProto.DOUBLE)
    with raises(
        ValueError,
        f"{path} takes images as tensor(double); it must take one of tensor(float), tensor(float16), tensor(uint8)",
    ):
        load_onnx(path)


def test_an_answer_of_another_length_is_refused_by_name(path, images):
    node = helper.make_node("ReduceMean", ["images"], ["scores"], keepdims=0)
    save(path, [node], ["n", 3, 6, 4], {"scores": (FLOAT, [])})
    with raises(ValueError, f"{path} answered shape () for 5 images; it must be (5, classes)"):
        load_onnx(path, "logits")(images)


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_a_missing_package_is_named(path, weights, monkeypatch, missing):
    linear(path, weights)
    monkeypatch.setitem(__import__("sys").modules, missing, None)
    with raises(ModuleNotFoundError, f"ONNX files need {missing}, which is not installed: pip install 'freemcg[onnx]'"):
        load_onnx(path)


def test_identity_is_that_of_the_files_bytes(path, weights):
    first, again = load_onnx(linear(path, weights)).identity, load_onnx(linear(path, weights)).identity
    assert first == again
    assert re.fullmatch("tiny.onnx:[0-9a-f]{16}", first)
    assert load_onnx(linear(path, weights + 1)).identity != first


def test_a_command_line_names_the_file(path, weights, images):
    linear(path, weights, last="Softmax")
    black_box = load_black_box(str(path))
    assert black_box.scores == "probabilities"
    torch.testing.assert_close(black_box(images), load_onnx(path)(images))
    linear(path, weights, sizes=["n", 3, "h", "w"])
    assert load_black_box(str(path), scores="logits", image_size=6).image_size == (6, 6)
    two_outputs(path, weights)
    with raises(ValueError, f"{path} has 2 outputs; say which with output= or --output: label, logits"):
        load_black_box(str(path))


def test_a_command_line_says_output_layout_mean_and_std(path, weights, images):
    two_outputs(path, weights)
    normalising = {"mean": [0.1, 0.2, 0.3], "std": 0.5}
    with raises(ValueError, "mean and std need one finite number per channel, std > 0; got [0.1, 0.2, 0.3] and 0.5"):
        load_black_box(str(path), output="logits", **normalising)
    normalising["std"] = [0.5, 0.5, 0.25]
    black_box = load_black_box(str(path), output="logits", **normalising)
    torch.testing.assert_close(black_box(images), load_onnx(path, output="logits", **normalising)(images))
    linear(path, weights, sizes=["n", "a", "b", "c"])
    for layout in ("NCHW", "NHWC"):
        found = load_black_box(str(path), layout=layout)
        torch.testing.assert_close(found(images), load_onnx(path, layout=layout)(images))


def test_answers_of_another_output_or_layout_are_those_of_another_model(path, weights):
    """A cache and a second start find an answer by the identity of the model."""
    two_outputs(path, weights)
    assert load_onnx(path, output="logits").identity != load_onnx(path, "value", output="label").identity
    linear(path, weights, sizes=["n", "a", "b", "c"])
    assert load_onnx(path, layout="NCHW").identity != load_onnx(path, layout="NHWC").identity


@pytest.mark.parametrize("keepdims", [0, 1])
def test_an_arg_max_at_the_end_means_labels(path, weights, images, keepdims):
    nodes = [
        helper.make_node("Flatten", ["images"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        helper.make_node("ArgMax", ["logits"], ["label"], axis=1, keepdims=keepdims),
    ]
    outputs = {"label": (TensorProto.INT64, ["n", 1][: 1 + keepdims])}
    save(path, nodes, ["n", 3, 6, 4], outputs, constants={"weights": weights.numpy()})
    with raises(ValueError, "a black box that answers labels needs class_names or num_classes"):
        load_black_box(str(path))
    black_box = load_black_box(str(path), num_classes=CLASSES)
    assert black_box.scores == "label"
    assert torch.equal(black_box(images).argmax(dim=1), (images.flatten(1) @ weights).argmax(dim=1))


def test_a_map_of_labels_one_pixel_large_is_labels(path, weights, images):
    """Segmentation and convolutional heads answer labels `(N, 1, 1, 1)` and logits `(N, C, 1, 1)`."""
    kernel = weights.T.reshape(CLASSES, 3, 6, 4).contiguous().numpy()
    nodes = [
        helper.make_node("Conv", ["images", "kernel"], ["logits"]),
        helper.make_node("ArgMax", ["logits"], ["label"], axis=1, keepdims=1),
    ]
    outputs = {"logits": (FLOAT, ["n", CLASSES, 1, 1]), "label": (TensorProto.INT64, ["n", 1, 1, 1])}
    save(path, nodes, ["n", 3, 6, 4], outputs, constants={"kernel": kernel})
    logits = load_black_box(str(path), output="logits")
    assert (logits.scores, logits.num_classes) == ("logits", CLASSES)
    torch.testing.assert_close(logits(images), (images.flatten(1) @ weights).log_softmax(1), rtol=1e-4, atol=1e-5)
    labels = load_black_box(str(path), output="label", num_classes=CLASSES)
    assert torch.equal(labels(images).argmax(dim=1), logits(images).argmax(dim=1))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_bundled_classifier_answers_alike_as_an_onnx_file(path):
    bundle = load_bundle("digits")
    pictures = bundle.images[:6]
    names = {"input_names": ["images"], "output_names": ["logits"], "dynamic_axes": {"images": {0: "n"}}}
    try:
        torch.onnx.export(bundle.classifier, (pictures[:2],), path, dynamo=False, **names)
    except (ImportError, TypeError) as error:
        pytest.skip(f"this torch exports no ONNX file without further packages: {error}")
    black_box = load_onnx(path, class_names=bundle.class_names)
    assert (black_box.scores, black_box.channels, black_box.image_size) == ("logits", 1, (32, 32))
    torch.testing.assert_close(black_box(pictures), BlackBox(bundle.classifier)(pictures), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kind", "last"), [("binary", "Sigmoid"), ("binary_logit", None), ("value", None)])
def test_a_file_of_one_column_is_the_kind_that_is_said(path, weights, kind, last):
    """`images` are flattened and multiplied with one column: a logit of two classes, or a number that means itself."""
    images, column = torch.rand(4, 3, 6, 4), weights[:, :1]
    nodes = [helper.make_node("Flatten", ["images"], ["flat"])]
    nodes += [helper.make_node("MatMul", ["flat", "weights"], ["scores" if last is None else "logits"])]
    nodes += [] if last is None else [helper.make_node(last, ["logits"], ["scores"])]
    save(path, nodes, ["n", 3, 6, 4], {"scores": (FLOAT, ["n", 1])}, constants={"weights": column.numpy()})
    black_box, number = load_onnx(path, kind), images.flatten(1) @ column
    answers = black_box(images)
    if kind == "value":
        torch.testing.assert_close(answers.float(), number, rtol=1e-5, atol=1e-5)
    else:
        both = torch.cat([-number, number], dim=1)
        torch.testing.assert_close(answers.float(), torch.nn.functional.logsigmoid(both), rtol=1e-4, atol=1e-5)
    assert black_box.queries == 4
