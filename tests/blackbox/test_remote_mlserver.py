"""The client of the Open Inference Protocol v2 against a real MLServer.

JSON holds every digit of a float32, and 8-bit pixels are whole numbers, so the transport rounds nothing. In the same
batches with the same memory layout, the classifier gives the same answers in both processes. `ROUNDING` allows for
other kernels. (With channels last in one process, answers differed by 1e-5, and a path by 1e-3.)
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import digits_mlserver
import pytest
import torch

import freemcg
from freemcg import Attribution, BlackBox, Counterfactual, FreeMCG, load_bundle
from freemcg.blackbox import RemoteError
from freemcg.blackbox.remote.inference_protocol import inference_black_box
from freemcg.files.images import write_image
from freemcg.models.load import load_denoiser

pytestmark = pytest.mark.skipif(
    not digits_mlserver.MLSERVER.is_file(), reason="MLServer is not installed beside this Python"
)
ROUNDING = 1e-5
GREY_LEVEL = 1.001 / 255
AT_THE_END = 1  # the query that repeats the image, for a model behind an address


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with digits_mlserver.running(tmp_path_factory.mktemp("mlserver")) as address:
        yield address


@pytest.fixture(scope="module")
def bundle():
    return load_bundle("digits")


@pytest.fixture
def here(bundle):
    """The same model in this process. It gets 8-bit images, in the batches that the client sends."""
    return BlackBox(bundle.classifier, "logits", eight_bit=True, batch_size=8)


def raises(kind, message):
    return pytest.raises(kind, match=f"^{re.escape(message)}$")


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("digits-uint8", ("image", "UINT8", "NHWC", (32, 32), 1, False)),
        ("digits-fp32", ("image", "FP32", "NCHW", (32, 32), 1, False)),
        ("digits-png", ("image", "BYTES", "N", None, None, False)),
    ],
)
def test_its_models_answer_as_in_this_process(server, bundle, here, name, read):
    there = inference_black_box(f"{server}/{name}", "logits")
    taken = there.predict.input
    assert (taken.name, taken.datatype, taken.layout, taken.image_size, taken.channels, taken.one_at_a_time) == read
    assert (there.predict.output, there.predict.binary) == ("logits", False)
    torch.testing.assert_close(there(bundle.images[:20]), here(bundle.images[:20]), rtol=0, atol=ROUNDING)
    assert (there.queries, there.answered, there.retried, there.num_classes) == (20, 20, 0, 10)


def explained(server, name, task, queries, image, out):
    """The result of the command line, which runs in a process of its own."""
    write_image(image, out / "digit.png")
    command = [sys.executable, "-m", "freemcg", task, "digit.png", "--out", "out", "--queries", queries, "--seed", "3"]
    done = subprocess.run(
        [*command, "--model", f"{server}/{name}", "--scores", "logits"],
        cwd=out,
        env={**os.environ, "PYTHONPATH": str(Path(freemcg.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return out / "out" / "digit" / "result.safetensors"


def test_an_attribution_equals_that_in_this_process(server, bundle, here, tmp_path):
    result = Attribution.load(explained(server, "digits-uint8", "attribute", "17", bundle.images[0], tmp_path))
    expected = FreeMCG(here, load_denoiser("digits"), queries=17, seed=3).explain(bundle.images[0])
    for field in ("values", "standard_error"):
        value, wanted = getattr(result, field), getattr(expected, field)
        torch.testing.assert_close(value, wanted, rtol=0, atol=ROUNDING * wanted.abs().max().item())
    assert (result.status, result.queries, result.decision) == ("complete", 17 + AT_THE_END, expected.decision)


def test_a_counterfactual_equals_that_in_this_process(server, bundle, here, tmp_path):
    result = Counterfactual.load(explained(server, "digits-fp32", "counterfactual", "16", bundle.images[0], tmp_path))
    expected = FreeMCG(here, load_denoiser("digits"), search={"queries": 16}, seed=3).counterfactual(bundle.images[0])
    torch.testing.assert_close(result.path, expected.path, rtol=0, atol=ROUNDING)
    torch.testing.assert_close(result.image, expected.image, rtol=0, atol=GREY_LEVEL)
    assert (result.status, result.decision) == (expected.status, expected.decision)
    assert result.queries == expected.queries + AT_THE_END


def test_a_model_that_is_not_there_is_refused_by_the_server(server):
    with raises(RemoteError, f"""{server}/cat answered 404: '{{"error":"Model cat not found"}}'"""):
        inference_black_box(f"{server}/cat", "logits")


def test_a_model_without_metadata_is_refused(server):
    address = f"{server}/digits-untold"
    with raises(ValueError, f"{address} does not tell its inputs; state them in the settings of the model"):
        inference_black_box(address, "logits")
