"""A real MLServer on a loopback port, with the bundled digits classifier behind it."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from freemcg import BlackBox, load_bundle
from freemcg.blackbox import RemoteError
from freemcg.blackbox.inference_protocol import inference_black_box

pytestmark = pytest.mark.skipif(importlib.util.find_spec("mlserver") is None, reason="MLServer is not installed")

RUNTIME = """\
import torch
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse

from freemcg import load_bundle


class Digits(MLModel):
    async def load(self):
        self.classifier = load_bundle("digits").classifier
        return True

    async def predict(self, payload):
        pixels = torch.from_numpy(NumpyCodec.decode_input(payload.inputs[0])).float() / 255
        with torch.no_grad():
            logits = self.classifier(pixels).numpy()
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("logits", logits)])
"""

MODEL = {
    "name": "digits",
    "implementation": "digits_runtime.Digits",
    "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 1, 32, 32]}],
    "outputs": [{"name": "logits", "datatype": "FP32", "shape": [-1, 10]}],
}


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mlserver")
    http, grpc, metrics = free_ports(3)
    settings = {"host": "127.0.0.1", "http_port": http, "grpc_port": grpc, "metrics_port": metrics}
    (folder / "settings.json").write_text(json.dumps({**settings, "parallel_workers": 0}))
    (folder / "model-settings.json").write_text(json.dumps(MODEL))
    (folder / "digits_runtime.py").write_text(RUNTIME)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(Path(__file__).parent.parent)])}
    command = [sys.executable, "-m", "mlserver.cli.main", "start", str(folder)]
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        url, end = f"http://127.0.0.1:{http}/v2/models/digits", time.monotonic() + 120
        while True:
            try:
                yield inference_black_box(url, "logits")
                break
            except RemoteError:
                if time.monotonic() > end or process.poll() is not None:
                    raise AssertionError((folder / "log.txt").read_text()[-2000:]) from None
                time.sleep(0.5)
    finally:
        process.terminate()
        process.wait()


def test_the_same_answers_as_in_this_process(model):
    bundle = load_bundle("digits")
    local = BlackBox(bundle.classifier, eight_bit=True)
    torch.testing.assert_close(model(bundle.images[:20]), local(bundle.images[:20]), rtol=1e-4, atol=1e-4)
    assert (model.queries, model.answered, model.retried) == (20, 20, 0)
    assert not model.predict.binary
