"""Answers with several parts: the scores are told apart by something sure, or the answer is refused."""

import re
from collections import namedtuple
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from freemcg import BlackBox

SCORES = torch.tensor([[0.5, 2.0, -1.0, 0.0, 1.0]]).repeat(3, 1) * torch.tensor([[1.0], [2.0], [3.0]])
FEATURES = torch.ones(3, 20)
IMAGES = torch.zeros(3, 1, 2, 2)
TWO_PARTS = {
    "tuple": ((FEATURES, SCORES), "(3, 20) and (3, 5)"),
    "list": ([FEATURES, SCORES], "(3, 20) and (3, 5)"),
    "mapping": ({"features": FEATURES, "out": SCORES}, "features (3, 20) and out (3, 5)"),
    "pixels": ((FEATURES, SCORES[:, :, None, None]), "(3, 20) and (3, 5, 1, 1)"),
    "lists": ((FEATURES, SCORES.tolist()), "(3, 20) and (3, 5)"),
    "lists first": ((FEATURES.tolist(), SCORES), "(3, 20) and (3, 5)"),
    "nested": ((FEATURES, (SCORES, torch.zeros(3, 4, 4))), "(3, 20) and (3, 5)"),
    "nested mapping": ((FEATURES, {"out": SCORES.numpy()}), "(3, 20) and out (3, 5)"),
}


def raises(kind, message):
    return pytest.raises(kind, match=f"^{re.escape(message)}$")


def answered(answer, kind="logits", **options):
    return BlackBox(lambda images: answer, kind, **options)(IMAGES)


@pytest.mark.parametrize(("answer", "found"), TWO_PARTS.values(), ids=TWO_PARTS)
def test_two_parts_are_told_apart_by_the_number_of_classes_or_refused(answer, found):
    said = f"the black box answered 2 parts that could be the scores, of shapes {found}; return one of them alone"
    with raises(TypeError, said + ", or say num_classes (--num-classes)"):
        answered(answer)
    with raises(TypeError, said):
        answered(answer, num_classes=7)
    torch.testing.assert_close(answered(answer, num_classes=5), SCORES.log_softmax(1))
    torch.testing.assert_close(answered(answer, class_names=list("abcde")), SCORES.log_softmax(1))


@pytest.mark.parametrize(
    ("kind", "answer", "classes", "found"),
    [
        ("logits", (FEATURES, SCORES[:, 0]), None, "(3, 20) and (3,)"),
        ("logits", (FEATURES, [1.0, 2.0, 3.0]), None, "(3, 20) and (3,)"),
        ("logits", (SCORES, SCORES), 5, "(3, 5) and (3, 5)"),
        ("label", (SCORES[:, 0], SCORES[:, 1:2]), 5, "(3,) and (3, 1)"),
        ("value", (SCORES[:, :1], SCORES[:, 0]), 1, "(3, 1) and (3,)"),
        ("logits", ({"logits": SCORES}, SimpleNamespace(logits=SCORES)), 5, "logits (3, 5) and logits (3, 5)"),
    ],
)
def test_parts_that_nothing_tells_apart_are_refused_with_their_shapes(kind, answer, classes, found):
    said = f"the black box answered 2 parts that could be the scores, of shapes {found}; return one of them alone"
    with raises(TypeError, said + (", or say num_classes (--num-classes)" if classes is None else "")):
        answered(answer, kind, num_classes=classes)


@pytest.mark.parametrize(
    "answer",
    [
        (FEATURES, {"logits": SCORES}),
        (FEATURES, {"logits": SCORES.tolist(), "aux": SCORES + 1}),
        (FEATURES, SimpleNamespace(logits=SCORES)),
        {"features": FEATURES, "head": {"logits": SCORES}},
        {"features": FEATURES, "logits": SCORES},
        namedtuple("Answer", "features logits")(FEATURES, SCORES),
    ],
)
def test_the_name_logits_tells_the_scores(answer):
    torch.testing.assert_close(answered(answer), SCORES.log_softmax(1))


def test_one_number_for_each_image_stands_beside_features():
    torch.testing.assert_close(
        answered((torch.full((3,), 0.25), FEATURES), "binary").exp(), torch.tensor([[0.75, 0.25]]).repeat(3, 1)
    )


def test_an_answer_before_tells_the_number_of_classes():
    answers = iter([SCORES, (FEATURES, SCORES)])
    black_box = BlackBox(lambda images: next(answers))
    assert torch.equal(black_box(IMAGES), black_box(IMAGES))


STORAGES = {
    "tensors": list,
    "arrays": lambda scores: list(scores.numpy()),
    "sparse": Tensor.to_sparse,
    "compressed": Tensor.to_sparse_csr,
    "nested": lambda scores: torch.nested.nested_tensor(list(scores)),
    "quantized": lambda scores: torch.quantize_per_tensor(scores, 0.5, 0, torch.qint8),
    "unmasked": lambda scores: np.ma.masked_array(scores.numpy(), mask=False),
}


@pytest.mark.filterwarnings(
    "ignore:Sparse CSR tensor support is in beta",
    "ignore:torch.quantize_per_tensor",
    "ignore:The PyTorch API of nested",
)
@pytest.mark.parametrize("storage", STORAGES)
def test_rows_of_any_storage_are_read(storage):
    torch.testing.assert_close(answered(STORAGES[storage](SCORES)), SCORES.log_softmax(1))


def test_a_list_of_labels_is_read_and_a_tuple_of_rows_is_not():
    labels = answered([torch.tensor([2]), torch.tensor([0]), torch.tensor([1])], "label", num_classes=3)
    assert labels.argmax(1).tolist() == [2, 0, 1]
    said = "the black box answered tuple (Tensor (5,), Tensor (5,), Tensor (5,)); it must answer numbers: "
    with raises(TypeError, said + "a tensor, an array, or lists"):
        answered(tuple(SCORES))


def test_a_masked_entry_is_no_score():
    masked = np.ma.masked_array(SCORES.softmax(1).numpy(), mask=SCORES.numpy() < 0)
    with raises(
        ValueError,
        (
            "the black box answered NaN or infinity for image 0 of 3"
            "; its answer must be finite numbers, so try it in float32"
        ),
    ):
        answered(masked)
    unlisted = answered(masked, "top_k", num_classes=5).exp()
    torch.testing.assert_close(unlisted, SCORES.softmax(1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (SCORES > 0, "the black box answered truth values, which are no scores; return numbers, or say label"),
        (
            SCORES.to("meta"),
            "the black box answered a tensor on the device meta, without values; load its weights first",
        ),
    ],
)
def test_what_holds_no_scores_is_refused(answer, message):
    with raises(TypeError, message):
        answered(answer)
