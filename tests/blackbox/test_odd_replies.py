"""Replies that no server should give: each is refused in the words of the reply, and none is a slip of ours."""

from __future__ import annotations

import json

import pytest

from freemcg.blackbox.remote.image_input import read_input
from freemcg.blackbox.remote.inference_protocol import _chosen
from freemcg.blackbox.remote.replies import read_json, read_labelled, read_numbers, read_scores
from freemcg.blackbox.remote.tensors import read_outputs
from freemcg.messages.errors import InvalidValue

HUGE = 10**400
TENSOR = {"name": "y", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}


@pytest.mark.parametrize("body", ['{"cat": 0.2, "cat": 0.8}', '[{"scores": {"a": 1, "b": 0, "a": 0}}]'])
def test_a_name_twice_in_an_object_is_refused_since_one_would_be_lost(body):
    with pytest.raises(InvalidValue, match=r"^has an object with the same name twice$"):
        read_json(body.encode())


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe", b"{", b"[" * 100_000, "\u00e4".encode("latin-1")])
def test_what_is_not_json_is_said_to_be_none(body):
    with pytest.raises(InvalidValue, match=r"^not JSON$"):
        read_json(body)


def test_numbers_that_no_float_holds_are_no_numbers():
    with pytest.raises(InvalidValue, match=r"^holds no rows of numbers$"):
        read_scores([[HUGE, 1]], 1)
    with pytest.raises(InvalidValue, match=r"^holds no rows of numbers$"):
        read_numbers([HUGE], 1)
    with pytest.raises(InvalidValue, match=r"for class 'a'; it must be a number$"):
        read_labelled([{"a": HUGE, "b": 0}], 1, ("a", "b"), all_classes=True)
    assert read_scores([[10**300, -(2**70)]], 1).tolist() == [[1e300, -float(2**70)]]


@pytest.mark.parametrize(
    "change",
    [
        {"data": [HUGE, 1], "datatype": "INT64"},
        {"data": [300, 1], "datatype": "UINT8"},
        {"shape": [1, float("inf")]},
        {"shape": [1, 3]},
        {"shape": None},
        {"datatype": "FP7"},
        {"data": "scores"},
        {"parameters": {"binary_data_size": "8"}},
    ],
)
def test_an_output_that_breaks_the_protocol_is_refused(change):
    with pytest.raises(InvalidValue, match=r"^is no inference response of protocol v2$"):
        read_outputs(
            json.dumps({"outputs": [TENSOR | change | {"parameters": change.get("parameters", {1: 1})}]}).encode(), {}
        )


@pytest.mark.parametrize(
    "change",
    [{"datatype": None, "shape": []}, {"shape": None}, {"shape": ["?", 3]}, {"shape": [1e400]}, {"shape": "x"}],
)
def test_metadata_without_a_shape_are_refused(change):
    with pytest.raises(InvalidValue, match=r"^http://server/v2 (does not tell the datatype and shape|takes )"):
        read_input({"name": "x", "datatype": "FP32", "shape": [1]} | change, None, "http://server/v2")
    with pytest.raises(
        InvalidValue, match=r"does not tell the datatype and shape of its input; state them in the settings"
    ):
        read_input({"name": "x"}, None, "http://server/v2")
    with pytest.raises(InvalidValue, match=r"takes BYTES of shape \[\]; encoded images have shape \[-1\]"):
        read_input({"name": "x", "datatype": "BYTES", "shape": []}, None, "http://server/v2")


@pytest.mark.parametrize("offered", [None, {}, [], ["x"], [1], "x"])
def test_metadata_without_inputs_are_refused(offered):
    with pytest.raises(InvalidValue, match=r"does not tell its inputs; state them in the settings of the model"):
        _chosen(offered, None, "input", "http://server/v2")
